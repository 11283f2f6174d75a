"""Opened models stay at hand, a bounded number of them, and a changed file is opened anew."""

from object_pose.runtime.model_cache import ModelCache


def test_a_bounded_number_of_models_is_kept(tmp_path):
    opened = []
    cache = ModelCache(lambda path: opened.append(path.name) or object(), capacity=2)
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_text(file.name)
    first = cache.refresh(files[0])
    assert cache.get(files[0]) is cache.refresh(files[0]) is first
    cache.get(files[1])
    cache.get(files[0])
    cache.get(files[2])
    assert cache.get(files[0]) is first
    assert opened == ["a", "b", "c"]
    cache.get(files[1])
    assert opened == ["a", "b", "c", "b"]


def test_a_changed_file_is_opened_anew_when_it_is_asked_for(tmp_path):
    file = tmp_path / "model"
    file.write_text("one")
    cache = ModelCache(lambda path: path.read_text())
    assert cache.get(file) == "one"
    file.write_text("other")
    assert cache.get(file) == "one"
    assert cache.refresh(file) == cache.get(file) == "other"
    file.unlink()
    assert cache.get(file) == "other"
