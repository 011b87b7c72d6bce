"""What the daemon can, in BuildKit's IDs (``frontend/gateway/pb/caps.go``, ``solver/pb/caps.go``).

A client uses what is listed, and complains over what it needs and is not. What is left out: sessions
that decide on sources, a history's filters, signatures of git and HTTP sources.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FRONTEND", "LLB"]

FRONTEND: Final = tuple(
    """
    solve.base solve.inlinereturn resolveimage resolveimage.resolvemode readfile return returnmap readdir statfile
    importcaches proto.refarray reference.output frontend.inputs gateway.solve.metadata frontend.caps
    gateway.solve.evaluate gateway.evaluate gateway.warnings source.metaresolver
    gateway.exec gateway.exec.extrahosts gateway.exec.filesystem gateway.exec.secretenv gateway.exec.signals
    """.split()
)

LLB: Final = tuple(
    """
    source.image source.image.resolvemode source.image.layerlimit source.image.checksum
    source.local source.local.unique source.local.sessionid source.local.includepatterns source.local.followpaths
    source.local.excludepatterns source.local.sharedkeyhint source.local.differ
    source.git source.git.keepgitdir source.git.fullurl source.git.httpauth source.git.subdir source.git.checksum
    source.git.skipsubmodules
    source.http source.http.auth source.http.checksum source.http.perm soruce.http.uidgid source.http.header
    source.ocilayout source.buildop.llbfilename source.policy
    exec.meta.base exec.meta.cgroup.parent exec.meta.network exec.meta.proxyenv exec.meta.security
    exec.meta.security.devices.v1 exec.meta.setsdefaultpath exec.meta.ulimit exec.meta.cdi
    exec.mount.bind exec.mount.bind.readwrite-nooutput exec.mount.cache exec.mount.cache.sharing exec.mount.selector
    exec.mount.tmpfs exec.mount.tmpfs.size exec.mount.secret exec.mount.ssh exec.mount.cache.content exec.cgroup
    exec.secretenv exec.validexitcode
    file.base file.rm.wildcard file.copy.includeexcludepatterns file.copy.alwaysreplaceexistingdestpaths
    file.copy.modestring file.symlink.create
    constraints platform meta.ignorecache meta.description meta.exportcache
    mergeop diffop exporter.image.annotations exporter.image.attestations exporter.sourcedateepoch exporter.multiple
    gc.freespacefilter
    """.split()
)
