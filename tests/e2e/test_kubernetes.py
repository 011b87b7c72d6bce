"""``wherry-oci`` under Kubernetes: containerd runs pods on it, asked as the kubelet asks (docs/kubernetes.md)."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpclib import GRPCError

import quiet
from support.archives import docker_archive
from support.cri import Cri, decode
from support.needs import need
from support.oci_launcher import launcher
from support.processes import wait_for

pytestmark = [need("root", "busybox", "containerd", "cgroup1"), pytest.mark.asyncio]
NODE = 2  # the network namespace of the node: no CNI plugin is needed
IMAGE = "localhost/bb:1"
PODS = "wherry-test-pods"
EXITED = 2
CONFIG = """version = 2
root = "{directory}/root"
state = "{run}/state"
[grpc]
  address = "{run}/s"
[ttrpc]
  address = "{run}/t"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "wherry"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wherry]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wherry.options]
        BinaryName = "{runtime}"
"""


@pytest.fixture
def containerd(tmp_path: Path, busybox_archive: bytes) -> Iterator[str]:
    """The socket of a containerd with wherry-oci as its runtime, and two images."""
    run = tempfile.mkdtemp(prefix="containerd-")
    config = CONFIG.format(directory=tmp_path, run=run, runtime=launcher(tmp_path))
    (tmp_path / "config.toml").write_text(config)
    with (tmp_path / "log").open("wb") as log:
        command = ["unshare", "--net", "--", "containerd", "-c", str(tmp_path / "config.toml")]
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    ctr = ["ctr", "-a", f"{run}/s", "-n", "k8s.io"]
    try:
        wait_for(lambda: subprocess.run([*ctr, "version"], check=False, capture_output=True).returncode == 0)
        for name, program in ((IMAGE, ["sh"]), ("localhost/pause:1", ["sleep", "1000000"])):
            archive = docker_archive([busybox_archive], [name], config={"Cmd": program})
            subprocess.run([*ctr, "images", "import", "-"], input=archive, check=True, capture_output=True)
        yield f"{run}/s"
    finally:
        daemon.terminate()
        daemon.wait(60)
        subprocess.run(["rm", "-rf", run], check=False)
        for group in Path("/sys/fs/cgroup").glob(f"*/{PODS}"):  # the kubelet's own
            group.rmdir()


class Pod:
    """A pod, as the kubelet handles it."""

    def __init__(self, cri: Cri, directory: Path) -> None:
        self.cri = cri
        self.config = {
            1: {1: "web", 2: str(directory), 3: "default"},
            3: str(directory / "pod-logs"),
            8: {1: f"/{PODS}", 2: {1: {1: NODE}}},
        }
        self.sandbox = b""

    async def call(self, method: str, request: dict[int, Any]) -> dict[int, list[Any]]:
        """Ask containerd."""
        return await self.cri(method, request, timeout=quiet.patience(60))

    async def begin(self) -> None:
        """Run the sandbox."""
        self.sandbox = (await self.call("RunPodSandbox", {1: self.config}))[1][0]

    async def container(self, name: str, *command: str) -> bytes:
        """Create and start a container; its ID."""
        limits = {3: 512, 4: 64 << 20}
        settings = {1: {1: name}, 2: {1: IMAGE}, 3: [*command], 6: [{1: "A", 2: "b"}], 11: f"{name}.log"}
        settings |= {15: {1: limits, 2: {3: {1: NODE}, 15: {1: 0}}}}
        request = {1: self.sandbox, 2: settings, 3: self.config}
        made: bytes = (await self.call("CreateContainer", request))[1][0]
        await self.call("StartContainer", {1: made})
        return made

    async def exec(self, container: bytes, *command: str, timeout: int = 0) -> tuple[bytes, int]:
        """Run a command, as a probe does: its output and exit code."""
        found = await self.call("ExecSync", {1: container, 2: [*command], 3: timeout})
        return found.get(1, [b""])[0], found.get(3, [0])[0]

    async def end(self) -> None:
        """Stop and remove everything."""
        if self.sandbox:
            await self.call("StopPodSandbox", {1: self.sandbox})
            await self.call("RemovePodSandbox", {1: self.sandbox})


@pytest.fixture
async def pod(containerd: str, tmp_path: Path) -> AsyncIterator[Pod]:
    """A pod that runs."""
    cri = Cri(containerd)
    pod = Pod(cri, tmp_path)
    try:
        await pod.begin()
        yield pod
    finally:
        await pod.end()
        cri.close()


async def test_a_pod_runs_is_probed_changed_and_ended(pod: Pod, tmp_path: Path) -> None:
    script = "trap 'exit 7' TERM; echo begun; while :; do sleep 0.1; done"
    web = await pod.container("web", "sh", "-c", script)
    limit = "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    assert await pod.exec(web, "sh", "-c", f"echo $A; cat {limit}; exit 3") == (b"b\n67108864\n", 3)
    with pytest.raises(GRPCError, match="timeout 1s exceeded"):
        await pod.exec(web, "sleep", "100", timeout=1)
    await pod.call("UpdateContainerResources", {1: web, 2: {4: 96 << 20}})
    assert await pod.exec(web, "cat", limit) == (b"100663296\n", 0)
    with pytest.raises(GRPCError, match='exec: "nosuch": executable file not found in \\$PATH'):
        await pod.container("bad", "nosuch")
    wait_for(lambda: "stdout F begun" in (tmp_path / "pod-logs/web.log").read_text())
    await pod.call("StopContainer", {1: web, 2: 60})
    status = decode((await pod.call("ContainerStatus", {1: web}))[1][0])
    assert [status[3], status[7]] == [[EXITED], [7]]
