"""What kinds of things the simulated Firefox-CI has: worker pools, trees and jobs.

Here belong names, weights and typical durations: data, shaped like the real thing, without the
behaviour. What happens to tasks and workers is `firefox_ci`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Provider = Literal["gcp", "azure", "hardware"]

LEVEL_1_PROJECT = "fxci-production-level1-workers"
LEVEL_3_PROJECT = "fxci-production-level3-workers"
DEVTEST_SUBSCRIPTION = "Simulated FXCI DevTest"
TRUSTED_SUBSCRIPTION = "Simulated FXCI Trusted"

_GCP_ZONES = ("us-central1-a", "us-central1-b", "us-central1-c", "us-central1-f", "us-west1-b")
_AZURE_LOCATIONS = ("centralus", "northcentralus", "southcentralus", "westus3", "centralindia")
"""Without dashes, as Azure's workers name their group."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A worker pool. `id` is what a task calls its task queue: provisioner/worker-type."""

    id: str
    provider: Provider
    project: str  # GCP project or Azure subscription; hardware has none
    locations: tuple[str, ...]
    machine_type: str
    spot: bool = False
    boot_seconds: tuple[int, int] = (0, 0)
    idle_seconds: int = 0
    hosts: tuple[str, int] = ("", 0)  # hardware: prefix and digits of a host's name
    broken: bool = False  # hardware that is gone; its tasks wait until their deadline


def _gcp(id: str, machine_type: str, *, spot: bool = False, idle_seconds: int = 600) -> Pool:
    project = LEVEL_3_PROJECT if "-3/" in id else LEVEL_1_PROJECT
    return Pool(id, "gcp", project, _GCP_ZONES, machine_type, spot, (75, 200), idle_seconds)


def _azure(id: str, machine_type: str, *, spot: bool = False) -> Pool:
    project = TRUSTED_SUBSCRIPTION if "-3/" in id else DEVTEST_SUBSCRIPTION
    return Pool(id, "azure", project, _AZURE_LOCATIONS, machine_type, spot, (240, 600), 900)


def _hardware(id: str, prefix: str, digits: int = 1, *, broken: bool = False) -> Pool:
    return Pool(id, "hardware", "", ("mdc1",), "hardware", hosts=(prefix, digits), broken=broken)


_DOMAIN_LEVELS = ("gecko-1", "gecko-3", "comm-3", "mobile-1", "mobile-3")

POOLS: dict[str, Pool] = {
    pool.id: pool
    for pool in (
        *(_gcp(f"{name}/decision", "c2-standard-4", idle_seconds=300) for name in _DOMAIN_LEVELS),
        *(
            _gcp(f"{name}/b-linux", "c2-standard-16", spot=name.endswith("-1"))
            for name in _DOMAIN_LEVELS
        ),
        _azure("gecko-1/b-win2022", "Standard_F16s_v2", spot=True),
        _azure("gecko-3/b-win2022", "Standard_F16s_v2"),
        _azure("comm-3/b-win2022", "Standard_F16s_v2"),
        _gcp("gecko-t/t-linux-docker-noscratch-amd", "c3d-standard-4", spot=True),
        _gcp("gecko-t/t-linux-docker-amd", "c3d-standard-8-lssd", spot=True),
        _gcp("gecko-t/t-linux-2404-wayland", "c2-standard-4", spot=True),
        _azure("gecko-t/win11-64-24h2", "Standard_F8s_v2", spot=True),
        _azure("gecko-t/win11-64-24h2-gpu", "Standard_NV12s_v3", spot=True),
        _hardware("gecko-t/t-osx-1400-m4", "macmini-m4-"),
        _hardware("gecko-t/t-osx-1015-r8", "macmini-r8-", broken=True),
        _hardware("gecko-t/t-linux-hw-2404-talos", "t-linux64-ms-", 3),
    )
}


@dataclass(frozen=True, slots=True)
class Job:
    """A kind of task. `{level}` in its pool is the tree's trust domain and level."""

    kind: str
    label: str
    pool: str
    minutes: float
    weight: float
    os: str
    builds: str = ""  # a build: the platform that it makes
    needs: str = ""  # a test: the platform whose build it waits for
    suite: str = ""
    platform: str = ""
    variant: str = ""
    chunks: int = 1
    owned_by: str = ""


def _build(platform: str, pool: str, minutes: float, weight: float, os: str) -> Job:
    return Job("build", f"build-{platform}", pool, minutes, weight, os, builds=platform)


def _test(
    kind: str,
    platform: str,
    needs: str,
    suite: str,
    pool: str,
    minutes: float,
    weight: float,
    *,
    chunks: int = 1,
    variant: str = "",
    owned_by: str = "",
) -> Job:
    os = {"l": "linux", "w": "windows", "m": "macosx", "a": "linux"}[platform[0]]
    label = f"test-{platform}-{suite}" + (f"-{variant}" if variant else "")
    return Job(
        kind,
        label,
        pool,
        minutes,
        weight,
        os,
        needs=needs,
        suite=suite,
        platform=platform,
        variant=variant,
        chunks=chunks,
        owned_by=owned_by,
    )


_LINUX_TESTS = "gecko-t/t-linux-docker-noscratch-amd"
_LINUX_LARGE = "gecko-t/t-linux-docker-amd"
_WAYLAND = "gecko-t/t-linux-2404-wayland"
_WINDOWS_TESTS = "gecko-t/win11-64-24h2"
_WINDOWS_GPU = "gecko-t/win11-64-24h2-gpu"
_MAC = "gecko-t/t-osx-1400-m4"
_LINUX_HARDWARE = "gecko-t/t-linux-hw-2404-talos"
_LINUX, _WINDOWS = "linux2404-64", "windows11-64-24h2"
_PERF_OWNER = "user7@example.com"

DESKTOP_JOBS: tuple[Job, ...] = (
    _build("linux64/opt", "{level}/b-linux", 28, 2.5, "linux"),
    _build("linux64/debug", "{level}/b-linux", 24, 2.5, "linux"),
    _build("macosx64/opt", "{level}/b-linux", 32, 1.5, "linux"),
    _build("win64/opt", "{level}/b-win2022", 40, 1.5, "windows"),
    _build("win64/debug", "{level}/b-win2022", 36, 1.5, "windows"),
    Job("source-test", "source-test-mozlint-eslint", _LINUX_TESTS, 6, 3, "linux"),
    Job("source-test", "source-test-python-mozbuild", _LINUX_LARGE, 11, 3, "linux"),
    _test("test", f"{_LINUX}/debug", "linux64/debug", "cppunittest", _LINUX_TESTS, 5, 4),
    _test("test", f"{_LINUX}/opt", "linux64/opt", "xpcshell", _LINUX_LARGE, 17, 9, chunks=8),
    _test("test", f"{_WINDOWS}/opt", "win64/opt", "xpcshell", _WINDOWS_TESTS, 22, 5, chunks=8),
    _test(
        "mochitest",
        f"{_LINUX}/opt",
        "linux64/opt",
        "mochitest-plain",
        _LINUX_TESTS,
        14,
        9,
        chunks=16,
    ),
    _test(
        "mochitest",
        f"{_LINUX}/debug",
        "linux64/debug",
        "mochitest-browser-chrome",
        _LINUX_LARGE,
        24,
        9,
        chunks=24,
        variant="swr",
    ),
    _test(
        "mochitest",
        f"{_LINUX}-wayland/opt",
        "linux64/opt",
        "mochitest-devtools-chrome",
        _WAYLAND,
        20,
        5,
        chunks=6,
    ),
    _test(
        "mochitest",
        f"{_WINDOWS}/debug",
        "win64/debug",
        "mochitest-webgl",
        _WINDOWS_GPU,
        18,
        4,
        chunks=4,
    ),
    _test(
        "mochitest", "macosx1400-64/opt", "macosx64/opt", "mochitest-media", _MAC, 12, 3, chunks=2
    ),
    _test(
        "web-platform-tests",
        f"{_LINUX}/opt",
        "linux64/opt",
        "web-platform-tests",
        _LINUX_TESTS,
        18,
        12,
        chunks=20,
    ),
    _test(
        "web-platform-tests",
        f"{_WINDOWS}/opt",
        "win64/opt",
        "web-platform-tests",
        _WINDOWS_TESTS,
        20,
        8,
        chunks=20,
        variant="inc-origin-init",
    ),
    _test(
        "reftest",
        f"{_LINUX}/debug",
        "linux64/debug",
        "reftest",
        _LINUX_TESTS,
        19,
        6,
        chunks=8,
        variant="no-accel",
    ),
    _test(
        "browsertime",
        "macosx1400-64/opt",
        "macosx64/opt",
        "raptor",
        _MAC,
        13,
        2,
        variant="fission",
        owned_by=_PERF_OWNER,
    ),
    _test(
        "browsertime",
        f"{_LINUX}-hw/opt",
        "linux64/opt",
        "raptor",
        _LINUX_HARDWARE,
        15,
        2,
        owned_by=_PERF_OWNER,
    ),
    _test(
        "talos",
        f"{_LINUX}-hw/opt",
        "linux64/opt",
        "talos",
        _LINUX_HARDWARE,
        12,
        1.5,
        owned_by=_PERF_OWNER,
    ),
    _test(
        "awsy",
        "macosx1015-64/opt",
        "macosx64/opt",
        "awsy",
        "gecko-t/t-osx-1015-r8",
        10,
        0.3,
        owned_by=_PERF_OWNER,
    ),
)

MOBILE_JOBS: tuple[Job, ...] = (
    _build("android-arm64/opt", "{level}/b-linux", 22, 4, "linux"),
    Job("lint", "lint-detekt", _LINUX_TESTS, 5, 4, "linux"),
    _test(
        "test",
        "android-em-13-x86_64/opt",
        "android-arm64/opt",
        "geckoview-junit",
        _LINUX_LARGE,
        16,
        12,
        chunks=6,
    ),
    _test("test", "android-arm64/opt", "android-arm64/opt", "ui-test", _LINUX_TESTS, 20, 8),
)


@dataclass(frozen=True, slots=True)
class Tree:
    """A project that is pushed to. `weight` is its share of the pushes, `size` the size of its
    pushes against the mean."""

    name: str
    domain: str
    level: int
    weight: float
    size: float
    priority: str
    jobs: tuple[Job, ...]
    pushers: int  # how many people push to it

    @property
    def domain_level(self) -> str:
        return f"{self.domain}-{self.level}"

    @property
    def scheduler_id(self) -> str:
        return f"{self.domain}-level-{self.level}"


TREES: tuple[Tree, ...] = (
    Tree("try", "gecko", 1, 40, 0.9, "very-low", DESKTOP_JOBS, 60),
    Tree("autoland", "gecko", 3, 32, 1.4, "low", DESKTOP_JOBS, 40),
    Tree("mozilla-central", "gecko", 3, 6, 1.8, "medium", DESKTOP_JOBS, 4),
    Tree("mozilla-beta", "gecko", 3, 5, 1.2, "high", DESKTOP_JOBS, 6),
    Tree("comm-central", "comm", 3, 7, 0.6, "low", DESKTOP_JOBS, 8),
    Tree("firefox-android", "mobile", 3, 6, 0.4, "low", MOBILE_JOBS, 12),
    Tree("mozilla-vpn-try", "mobile", 1, 4, 0.3, "very-low", MOBILE_JOBS, 5),
)

DECISION_MINUTES = 3.0

HOUR_WEIGHTS: tuple[int, ...] = (3, 2, 2, 2, 2, 3, 4, 6, 8, 9, 9, 9, 10, 12, 13, 13, 13, 12, 11, 10)
HOUR_WEIGHTS += (8, 7, 5, 4)
"""Pushes by hour of the UTC day: Europe's morning to California's evening."""


def load(pool: Pool) -> float:
    """Minutes of work that an average task of the world means for a pool that trees share."""
    pushed = sum(tree.weight * tree.size for tree in TREES)
    minutes = 0.0
    for tree in TREES:
        of_tree = tree.weight * tree.size / pushed / sum(job.weight for job in tree.jobs)
        minutes += sum(
            of_tree * job.weight * job.minutes for job in tree.jobs if job.pool == pool.id
        )
    return minutes
