"""``wherry image inspect --remote``: an image in a registry, in the form of a local image."""

from __future__ import annotations

from wherry.cli.registry.credentials import auth_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.client.images import Images

__all__ = ["inspect_remote"]


def inspect_remote(images: Images, ref: str, platform: str) -> dict[str, Any]:
    """Request an image's manifest and configuration, and convert them to the form of ``inspect``.

    ``Size`` is that of the compressed layers; ``LocalSize`` is the part of it that is stored locally.
    """
    found = images.remote(ref, platform=platform, headers=auth_header(ref))
    manifest, config = found["Manifest"], found["Config"]
    layers = manifest["layers"]
    local = set(found["Local"])
    history = config.get("history") or [{}]
    return {
        "Id": manifest["config"]["digest"],
        "RepoTags": [found["Name"]],
        "RepoDigests": [f"{found['Name'].partition('@')[0].rpartition(':')[0]}@{found['Digest']}"],
        "Comment": history[-1].get("comment", ""),
        "Created": config.get("created", ""),
        "Author": config.get("author", ""),
        "Config": config.get("config") or {},
        "Architecture": config.get("architecture", ""),
        "Variant": config.get("variant", ""),
        "Os": config.get("os", ""),
        "Size": sum(layer["size"] for layer in layers),
        "LocalSize": sum(layer["size"] for layer in layers if layer["digest"] in local),
        "RootFS": {"Type": "layers", "Layers": (config.get("rootfs") or {}).get("diff_ids", [])},
        "Manifest": {"MediaType": manifest.get("mediaType", ""), "Digest": found["ManifestDigest"], "Layers": layers},
    }
