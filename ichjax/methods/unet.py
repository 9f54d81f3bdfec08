"""The paper's U-Net on patches (experiments 2 and 3)."""

from ichjax.config import Config
from ichjax.methods.patch_network import PatchNetworkMethod
from ichjax.metrics import published
from ichjax.models import residual_unet, unet


class UNetMethod(PatchNetworkMethod):
    """The U-Net of `config.model`, with the paper's encoder or a residual one."""

    title = "U-Net"
    card = "A U-Net on patches (Hssayeni et al., Data 2020, 5, 14)"
    published = published.UNET

    def __init__(self, config: Config):
        family = residual_unet if config.model.encoder == "residual" else unet
        super().__init__(config, family.network_from_config(config))
        # Group normalization has other statistics in a whole slice; the options below treat each patch separately.
        by_patch = config.patch.corner_pixel or config.predict.min_max_stretch or config.predict.quantize_8bit
        self.same_on_whole_slices = config.model.norm == "none" and not by_patch

    def layers(self) -> list[dict]:
        """The network layer by layer (paper, figure 3)."""
        return unet.layer_table(self.config, self.network.module)


make = UNetMethod
