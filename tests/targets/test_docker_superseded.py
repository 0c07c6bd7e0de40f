"""Images we built and nobody needs go; what another checkout, a container or somebody else has need of stays."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest

from harness.targets import docker_build, docker_superseded
from harness.targets.docker_engine import ENGRAM_VARIABLE, NO_IMAGE, engine
from harness.targets.docker_images import reference_tag
from harness.targets.docker_superseded import BUILT, HOLDABLE, hold, remove_superseded
from tests.targets.docker_here import images_here

OLD, OLDER = "engram-harness/reference:000000000001", "engram-harness/reference:000000000002"
OURS = {BUILT: HOLDABLE}


class Image:
    """One image of the fake engine."""

    def __init__(self, engine: Engine, tags: list[str], labels: dict[str, str], *, runs: bool = False) -> None:
        self.id = f"sha256:{len(engine.all)}"
        self.engine, self.tags, self.labels, self.runs = engine, tags, labels, runs

    def tag(self, repository: str, tag: str | None = None) -> bool:
        name = repository if tag is None else f"{repository}:{tag}"
        for image in self.engine.all:
            if name in image.tags:
                image.tags.remove(name)
        self.tags.append(name)
        return True


class Engine:
    """A client whose engine has these images, and obeys Docker's rules about them."""

    def __init__(self, *images: tuple[list[str], dict[str, str]]) -> None:
        self.all: list[Image] = []
        self.built = 0
        for tags, labels in images:
            self.all.append(Image(self, tags, labels))
        self.images = self
        self.api = SimpleNamespace(build=self._build)

    def get(self, name: str) -> Image:
        for image in self.all:
            if name == image.id or name in image.tags:
                return image
        raise docker.errors.ImageNotFound(name)

    def list(self, filters: dict[str, str]) -> list[Image]:
        key, _, value = filters["label"].partition("=")
        return [image for image in self.all if image.labels.get(key) == value]

    def remove(self, name: str, *, force: bool) -> None:
        assert not force
        image = self.get(name)
        if image.runs and image.tags == [name]:
            raise docker.errors.APIError("conflict", explanation="image is being used by running container")
        image.tags.remove(name)
        if not image.tags:
            self.all.remove(image)

    def _build(self, *, labels: dict[str, str], **_: Any) -> Iterator[dict[str, Any]]:
        self.built += 1
        image = Image(self, [], labels)
        self.all.append(image)
        yield {"aux": {"ID": image.id}}

    @property
    def names(self) -> set[str]:
        return {tag for image in self.all for tag in image.tags if "/held-" not in tag}


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``make(engine, checkout, digest)``: what ``make images`` does there, with sources of that digest."""
    monkeypatch.setenv("ENGRAM_GRAFANA_IMAGE", NO_IMAGE)
    monkeypatch.setenv("ENGRAM_PROMETHEUS_IMAGE", NO_IMAGE)
    monkeypatch.delenv(ENGRAM_VARIABLE, raising=False)
    monkeypatch.setattr(docker_build, "_base", lambda client, say: "debian")
    monkeypatch.setattr(docker_build, "_wheels", lambda *_: {})
    monkeypatch.setattr(docker_build, "_architecture", lambda _: "x86_64")

    def made(engine: Engine, checkout: str, tag: str) -> list[str]:
        said: list[str] = []
        monkeypatch.setattr(docker_superseded, "_checkout", lambda: checkout)
        monkeypatch.setattr("harness.targets.docker_images.reference_tag", lambda: tag)
        docker_build.build_all(engine, said.append)
        return said

    return made


def test_a_changed_source_takes_the_image_before_it_away(make: Any) -> None:
    engine = Engine()
    make(engine, "here", OLDER)
    said = make(engine, "here", OLD)
    assert engine.names == {OLD}
    assert [text for text in said if OLDER in text] == [f"removed {OLDER}: no checkout needs it any more"]
    assert not [text for text in make(engine, "here", OLD) if "removed" in text or "building" in text]
    assert engine.built == 2


def test_what_another_checkout_holds_stays_until_that_goes_on_too(make: Any) -> None:
    engine = Engine()
    make(engine, "here", OLDER)
    make(engine, "there", OLDER)  # the same sources: it is not built again
    assert engine.built == 1
    make(engine, "here", OLD)
    assert engine.names == {OLD, OLDER}
    make(engine, "there", OLD)
    assert engine.names == {OLD}


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        ([OLD], {}),  # our name, and not of our making
        ([OLD], {BUILT: "built"}),  # of an earlier version: whoever needs it did not say so
        (["acme/engram:patched"], OURS),  # committed from a container of ours, which hands its labels on
        ([], OURS),  # the same, without a name
        (["engram-harness/debian:bookworm-slim"], OURS),
        (["registry.acme/engram-harness/reference:000000000001"], OURS),
        (["engram-harness/reference:latest"], OURS),
    ],
)
def test_what_is_not_ours_to_remove_stays(tags: list[str], labels: dict[str, str]) -> None:
    engine = Engine((tags, labels))
    assert remove_superseded(engine) == ([], [])
    assert len(engine.all) == 1 and engine.all[0].tags == tags


def test_a_name_somebody_gave_keeps_the_image_and_a_container_keeps_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENGRAM_VARIABLE, raising=False)
    engine = Engine(([OLD, "acme/engram:kept"], OURS), ([OLDER], OURS))
    engine.all[1].runs = True
    removed, left = remove_superseded(engine)
    assert removed == [OLD]
    assert len(left) == 1 and left[0].startswith(OLDER) and "running container" in left[0]
    assert engine.names == {"acme/engram:kept", OLDER}


def test_an_image_that_is_asked_for_by_name_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENGRAM_VARIABLE, OLD)
    engine = Engine(([OLD], OURS), ([OLDER], OURS))
    assert remove_superseded(engine) == ([OLDER], [])


def test_an_engine_that_does_not_list_its_images_is_said() -> None:
    class Silent(Engine):
        def list(self, filters: dict[str, str]) -> list[Image]:
            raise docker.errors.APIError("500", explanation="disk is gone")

    assert remove_superseded(Silent(([OLD], OURS))) == ([], ["the engine does not list its images: disk is gone"])


@pytest.mark.docker
def test_a_real_engine_does_as_the_fake_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if isinstance(why := images_here(), str):
        pytest.skip(f"Docker: {why}")
    monkeypatch.setattr(docker_superseded, "_checkout", lambda: f"test-{tmp_path.parent.parent.name}")
    empty = io.BytesIO()
    with tarfile.open(fileobj=empty, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("nothing"))
    name = "engram-harness/reference:ffffffffff01"
    with engine() as client:
        made = client.api.import_image_from_data(
            empty.getvalue(),
            repository=name.partition(":")[0],
            tag="ffffffffff01",
            changes=[f"LABEL {BUILT}={HOLDABLE}"],
        )
        assert made
        held = f"engram-harness/held-reference:{docker_superseded._checkout()}"
        try:
            hold(client, name, name)
            assert name not in remove_superseded(client)[0]
            client.images.remove(held)
            assert name in remove_superseded(client)[0]
            with pytest.raises(docker.errors.ImageNotFound):
                client.images.get(name)
            assert client.images.get(reference_tag())
        finally:
            for left in (held, name):
                try:
                    client.images.remove(left)
                except docker.errors.ImageNotFound:
                    continue
