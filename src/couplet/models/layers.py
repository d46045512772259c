"""What is changed in a timm network after it is built: layers that stay as they are, and one more pooling."""

from __future__ import annotations

from timm.models import group_parameters
from torch import nn

from couplet.project.errors import UserError


def freeze_first_layers(network: nn.Module, share: float, name: str) -> list[nn.Module]:
    """Take gradients off the first round(share * n) of a network's n layers, and name the modules that they are.

    Layers are timm's own groups in their order: the stem, then every block (`group_matcher(coarse=False)`, as it
    numbers them for learning rates that fall with depth). A share of layers and not of parameters is how Xiong et al.
    (2025) count; what timm calls a layer is our own reading.

    Args:
        network: of timm, without its classifier.
        share: model.freeze, in [0, 1]; 1 leaves features "off the shelf".
        name: model.backbone, for errors.

    Returns:
        The outermost modules of which every parameter is frozen. In evaluation mode their dropout, drop path and batch
        statistics change nothing either.

    Raises:
        UserError: timm numbers no layers of this network, or the share is less than half of one.
    """
    if share == 0:
        return []
    matcher = getattr(network, "group_matcher", None)
    if matcher is None:
        raise UserError(f"timm does not number the layers of model.backbone = {name}: set model.freeze to 0")
    groups = group_parameters(network, matcher(coarse=False))
    n_frozen = round(share * len(groups))
    if n_frozen == 0:
        raise UserError(
            f"model.freeze = {share} is less than half of one of the {len(groups)} layers of model.backbone = {name}: "
            "set it to 0 or raise it"
        )
    frozen = {parameter for layer in range(n_frozen) for parameter in groups[layer]}
    for parameter_name, parameter in network.named_parameters():
        if parameter_name in frozen:
            parameter.requires_grad_(False)
    return _outermost_frozen(network)


def _outermost_frozen(module: nn.Module) -> list[nn.Module]:
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        return [module]
    return [found for child in module.children() for found in _outermost_frozen(child)]


def append_pooling(network: nn.Module, after: str, name: str) -> None:
    """Append 3 x 3 max pooling of stride 2 to a Sequential of the network, as Baltruschat et al. (2019) for 448 pixels.

    The last map of a ResNet stays 7 x 7 at twice the side; no weight is added or renamed.

    Args:
        network: of timm; changed in place.
        after: model.extra_pool, the Sequential's name, for example layer1.
        name: model.backbone, for errors.

    Raises:
        UserError: the network has no Sequential of that name.
    """
    found = dict(network.named_modules()).get(after)
    if not isinstance(found, nn.Sequential):
        there = [child for child, module in network.named_children() if isinstance(module, nn.Sequential)]
        raise UserError(
            f"model.extra_pool = {after!r} is no sequence of layers of model.backbone = {name}: it should be one, for "
            f"example {', '.join(there) or 'in another backbone'}"
        )
    found.append(nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
