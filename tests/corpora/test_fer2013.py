"""FER2013: the official archive is read as it is, and its faces are framed as a camera's."""

import zipfile
from collections import Counter

import cv2
import numpy as np
import pytest

import corpora.fer2013
from bundle.errors import InputError
from bundle.features import VideoSpec
from bundle.labels import FER2013_LABELS
from corpora.fer2013 import IMAGES, MARGIN_PX, SIZE_PX, aligned_fer2013, read_fer2013, upscaled
from perception.face import FaceDetection
from tests.small_corpora import FER2013_FOLDERS, jpeg, write_fer2013

COUNTS = {"Training": 3, "PublicTest": 2, "PrivateTest": 1}


def gray_of(usage, folder, number):
    """An even gray that says which image it is."""
    return np.uint8(80 * list(COUNTS).index(usage) + 10 * FER2013_FOLDERS.index(folder) + 3 * number)


@pytest.fixture
def archive(tmp_path):
    return write_fer2013(tmp_path / "fer2013.zip", COUNTS, lambda *which: np.full((48, 48), gray_of(*which)))


def add(path, name, content):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, content)


@pytest.mark.parametrize("usage", COUNTS)
def test_each_part_holds_its_own_images_under_their_labels(archive, usage):
    faces = read_fer2013(archive, usage)
    expected = [gray_of(usage, folder, number) for folder in FER2013_FOLDERS for number in range(COUNTS[usage])]
    assert faces.images.shape == (len(expected), SIZE_PX, SIZE_PX)
    assert faces.images.dtype == np.uint8
    np.testing.assert_allclose(faces.images.mean((1, 2)), expected, atol=1)
    assert faces.labels.tolist() == [label for label in range(7) for _ in range(COUNTS[usage])]


def test_labels_are_the_folders_under_common_names():
    named = {"fear": "fearful", "surprise": "surprised"}
    assert tuple(named.get(folder, folder) for folder in FER2013_FOLDERS) == FER2013_LABELS


def test_other_files_in_the_archive_are_passed_over(archive):
    before = read_fer2013(archive, "PublicTest")
    add(archive, "test/angry/readme.txt", "PublicTest_")
    add(archive, "__MACOSX/test/angry/._PublicTest_1.jpg", b"resource fork")
    np.testing.assert_array_equal(read_fer2013(archive, "PublicTest").images, before.images)


def test_what_is_no_zip_file_is_refused(tmp_path):
    (tmp_path / "text.zip").write_text("not a zip file")
    for path in (tmp_path / "text.zip", tmp_path / "nowhere.zip"):
        with pytest.raises(InputError, match="is not a zip file"):
            read_fer2013(path, "Training")


def unpacked(archive, folder):
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return folder


@pytest.mark.parametrize("usage", COUNTS)
def test_the_unpacked_archive_is_the_same(archive, tmp_path, usage):
    found, expected = read_fer2013(unpacked(archive, tmp_path / "fer"), usage), read_fer2013(archive, usage)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.labels, expected.labels)


def write_table(path, rows):
    """The challenge's own table: code, pixels, part."""
    lines = [f"{code},{' '.join(map(str, pixels))},{usage}" for code, pixels, usage in rows]
    path.write_text("\n".join(["emotion,pixels,Usage", *lines]))
    return path


def test_the_table_has_its_own_order_of_emotions(tmp_path):
    names = ("angry", "disgust", "fearful", "happy", "sad", "surprised", "neutral")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 48 * 48))
    rows = [(code, images[code], "PublicTest") for code in range(7)] + [(0, images[0], "Training")]
    faces = read_fer2013(write_table(tmp_path / "fer2013.csv", rows), "PublicTest")
    assert [FER2013_LABELS[label] for label in faces.labels] == list(names)
    np.testing.assert_array_equal(faces.images.reshape(7, -1), images)
    assert faces.images.dtype == np.uint8


@pytest.mark.parametrize(
    "row", [(0, [1] * 2303, "Training"), (0, [256] * 2304, "Training"), (0, [-1] * 2304, "Training"),
            (7, [1] * 2304, "Training"), ("x", [1] * 2304, "Training"), (0, ["a"] * 2304, "Training"),
            (0, [], "Training"), (0, [1] * 2304, "Train"), ("\N{COMBINING TILDE}", [1] * 2304, "Training")],
    ids=["short", "bright", "dark", "emotion", "letter", "text", "empty", "part", "tilde"],
)  # fmt: skip
def test_a_corrupt_row_is_refused_or_named_and_skipped(tmp_path, row):
    path = write_table(tmp_path / "fer2013.csv", [(3, [9] * 2304, "Training"), row])
    with pytest.raises(InputError, match=r"1 corrupt.*: line 3\."):
        read_fer2013(path, "Training")
    with pytest.warns(UserWarning, match="1 corrupt.*left out: line 3"):
        assert read_fer2013(path, "Training", on_error="skip").images.shape == (1, 48, 48)


def test_a_row_may_be_cut_anywhere_in_any_order_of_columns(tmp_path):
    path = tmp_path / "fer2013.csv"
    path.write_text(f"Usage,emotion,pixels\nTraining,3,{'9 ' * 2304}\nTraining\nTraining,3\n")
    with pytest.raises(InputError, match=r"2 corrupt.*: line 3; line 4\."):
        read_fer2013(path, "Training")


@pytest.mark.parametrize("usage", COUNTS)
def test_a_table_that_was_cut_is_named_whatever_part_is_read(tmp_path, usage):
    rows = [(3, [9] * 2304, part) for part in COUNTS] + [(3, [9] * 2304, "Training")]
    path = write_table(tmp_path / "fer2013.csv", rows)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"1 corrupt.*: line 5\."):
        read_fer2013(path, usage)


@pytest.mark.parametrize(
    ("content", "said"), [(b"\xff\xfe\x80", "1 corrupt.*: line 3"), (b'"' + b"x" * 200_000, "no table after line 2")],
    ids=["bytes", "quote"],
)  # fmt: skip
def test_what_is_no_table_is_refused(tmp_path, content, said):
    path = write_table(tmp_path / "fer2013.csv", [(3, [9] * 2304, "Training")])
    path.write_bytes(path.read_bytes() + b"\n" + content)
    with pytest.raises(InputError, match=said):
        read_fer2013(path, "Training")


def test_corrupt_images_are_named_and_skipped_where_asked(archive):
    before = read_fer2013(archive, "PublicTest")
    add(archive, "test/happy/PublicTest_98.jpg", b"")
    add(archive, "test/contempt/PublicTest_99.jpg", jpeg(np.zeros((48, 48), np.uint8)))
    with pytest.warns(UserWarning, match=r"2 corrupt.*contempt/PublicTest_99\.jpg; test/happy/PublicTest_98\.jpg"):
        found = read_fer2013(archive, "PublicTest", on_error="skip")
    np.testing.assert_array_equal(found.images, before.images)


def test_missing_images_are_counted_where_all_are_expected(archive):
    add(archive, "test/happy/PublicTest_98.jpg", b"")  # corrupt, not missing
    with (
        pytest.warns(UserWarning, match="1 corrupt"),
        pytest.warns(UserWarning, match=r"3574 of 3589 PublicTest images are missing, left out: .*fer2013\.zip"),
    ):
        assert len(read_fer2013(archive, "PublicTest", complete=True, on_error="skip").labels) == 14
    with pytest.raises(InputError, match="28688 of 28709 Training images are missing"):
        read_fer2013(archive, "Training", complete=True)


def test_a_folder_or_table_without_the_part_is_refused(tmp_path):
    empty = write_table(tmp_path / "fer2013.csv", [])
    for path in (empty, tmp_path):
        with pytest.raises(InputError, match="holds no Training images"):
            read_fer2013(path, "Training")
    with pytest.raises(InputError, match="is not a file"):
        read_fer2013(tmp_path / "none.csv", "Training")


def test_an_archive_without_the_part_is_refused(tmp_path):
    path = write_fer2013(tmp_path / "fer2013.zip", {"Training": 1}, lambda *_: np.zeros((48, 48), np.uint8))
    with pytest.raises(InputError, match="holds no PrivateTest"):
        read_fer2013(path, "PrivateTest")


@pytest.mark.parametrize(
    "content",
    [b"", b"no jpeg", jpeg(np.zeros((47, 48), np.uint8)), jpeg(np.zeros((48, 48), np.uint8))[:60]],
    ids=["empty", "text", "small", "cut"],
)
def test_an_image_that_does_not_decode_is_named(archive, content):
    add(archive, "test/happy/PublicTest_99.jpg", content)
    with pytest.raises(InputError, match=r"1 corrupt; expected 48 x 48.*: test/happy/PublicTest_99\.jpg\."):
        read_fer2013(archive, "PublicTest")


def test_an_image_in_no_emotions_folder_is_named(archive):
    add(archive, "test/contempt/PublicTest_99.jpg", jpeg(np.zeros((48, 48), np.uint8)))
    with pytest.raises(InputError, match=r"test/contempt/PublicTest_99\.jpg"):
        read_fer2013(archive, "PublicTest")


def test_a_damaged_archive_is_refused(archive):
    whole = archive.read_bytes()
    position = whole.index(b"PrivateTest_0.jpg") + 200  # within the data of the first
    archive.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
    with pytest.raises(InputError, match=r"1 corrupt.*: test/angry/PrivateTest_0\.jpg\. Fetch"):
        read_fer2013(archive, "PrivateTest")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_any_damage_to_an_archive_is_refused_or_does_no_harm(archive, compression):
    with zipfile.ZipFile(archive) as before:
        files = {name: before.read(name) for name in before.namelist()}
    with zipfile.ZipFile(archive, "w", compression) as again:
        for name, content in files.items():
            again.writestr(name, content)
    whole, rng = archive.read_bytes(), np.random.default_rng(0)
    expected, refused = read_fer2013(archive, "Training").images, 0
    directory = whole.index(b"PK\x01\x02")
    for _ in range(300):  # half of them in the directory at the end, which zipfile reads first
        damaged = bytearray(whole)
        damaged[rng.integers(rng.choice([0, directory]), len(whole))] ^= 1 << int(rng.integers(8))
        archive.write_bytes(damaged)
        try:
            found = read_fer2013(archive, "Training").images
        except InputError:
            refused += 1
        else:
            assert len(found) <= len(expected)
            assert all((face == expected).all((1, 2)).any() for face in found)
    assert refused > 75  # many bytes of the directory are of no account: times, attributes


def blobs(eyes, mouth):
    """A 48 x 48 gray image with a bright dot at each landmark."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    dots = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / 4) for a, b in (*eyes, mouth)]
    return np.rint(255 * np.clip(sum(dots), 0, 1)).astype(np.uint8)


def in_upscaled(point):
    """Where a pixel of a 48 x 48 image lies in the image that the detector sees."""
    return tuple(64 + 4 * (value + 0.5) - 0.5 for value in point)


def brightest(image, near):
    """Centroid (x, y) of what is bright within 4 px of `near`."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weight = image * ((x - near[0]) ** 2 + (y - near[1]) ** 2 < 16.0)
    return (x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()


def test_detector_sees_the_face_larger_within_a_border():
    eyes, mouth = ((15, 18), (32, 20)), (24, 36)
    image = upscaled(blobs(eyes, mouth))
    assert image.shape == (320, 320, 3)
    assert image.dtype == np.uint8
    for point in (*eyes, mouth):
        x, y = in_upscaled(point)
        found = cv2.minMaxLoc(image[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9, 0])[3]
        np.testing.assert_allclose(found, (8, 8), atol=1)


def test_eyes_of_a_detected_face_land_where_the_definition_says(tmp_path):
    eyes, mouth, spec = ((15, 18), (32, 20)), (24, 36), VideoSpec()
    path = write_fer2013(tmp_path / "fer2013.zip", {"PublicTest": 1}, lambda *_: blobs(eyes, mouth))
    left, right, lips = (in_upscaled(point) for point in (*eyes, mouth))
    larger = FaceDetection((0, 0, 300, 300), left, right, lips, 0.7)
    smaller = FaceDetection((0, 0, 20, 20), (1, 1), (9, 9), (5, 9), 0.9)
    faces = aligned_fer2013(path, "PublicTest", spec, lambda image: [smaller, larger])
    assert faces.images.shape == (7, spec.size_px + 2 * MARGIN_PX, spec.size_px + 2 * MARGIN_PX)
    assert faces.images.dtype == np.uint8
    y = MARGIN_PX + spec.eye_y * spec.size_px - 0.5  # pixel centres are at whole numbers
    for x in (spec.eye_x, 1 - spec.eye_x):
        expected = (MARGIN_PX + x * spec.size_px - 0.5, y)
        np.testing.assert_allclose(brightest(faces.images[0], expected), expected, atol=0.3)


def test_a_face_that_is_missed_keeps_its_framing(tmp_path):
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8), (0, 0), 3)
    path = write_fer2013(tmp_path / "fer2013.zip", {"PublicTest": 1}, lambda *_: picture)
    faces = aligned_fer2013(path, "PublicTest", VideoSpec(), lambda image: [])
    middle = faces.images[0, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    assert abs(middle.astype(float) - picture).mean() < 0.5
    assert abs(middle[:, ::-1].astype(float) - picture).mean() > 6


class CountedDetector:
    calls = 0

    def __call__(self, image):
        self.calls += 1
        return []


def test_aligned_faces_are_kept_and_found_again(archive, tmp_path):
    detect = CountedDetector()
    first = aligned_fer2013(archive, "PublicTest", VideoSpec(), detect, tmp_path)
    again = aligned_fer2013(archive, "PublicTest", VideoSpec(), detect, tmp_path)
    assert detect.calls == len(first.labels) == 14
    np.testing.assert_array_equal(again.images, first.images)
    np.testing.assert_array_equal(again.labels, first.labels)
    aligned_fer2013(archive, "PrivateTest", VideoSpec(), detect, tmp_path)
    assert detect.calls == 14 + 7
    aligned_fer2013(archive, "PrivateTest", VideoSpec(eye_y=0.45), detect, tmp_path)
    assert detect.calls == 14 + 7 + 7  # framed in another way


def test_keeping_that_is_interrupted_leaves_nothing_half_written(archive, tmp_path, monkeypatch):
    def interrupted(path, **arrays):
        path.write_bytes(b"PK half an archive")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(corpora.fer2013.np, "savez_compressed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            aligned_fer2013(archive, "PublicTest", VideoSpec(), lambda image: [], tmp_path)
    detect = CountedDetector()
    assert len(aligned_fer2013(archive, "PublicTest", VideoSpec(), detect, tmp_path).labels) == detect.calls == 14


@pytest.mark.data
def test_the_official_archive_is_complete(data_folder):
    with zipfile.ZipFile(data_folder / "fer2013.zip") as archive:
        usages = Counter(name.split("/")[-1].split("_")[0] for name in archive.namelist() if name.endswith(".jpg"))
    assert usages == IMAGES
    faces = read_fer2013(data_folder / "fer2013.zip", "PrivateTest", complete=True)
    labels = Counter(FER2013_LABELS[label] for label in faces.labels)
    assert labels == {
        "angry": 491, "disgust": 55, "fearful": 528, "happy": 879, "neutral": 626, "sad": 594, "surprised": 416,
    }  # fmt: skip


@pytest.mark.data
def test_most_official_faces_are_found(data_folder):
    from perception.mediapipe_face import MediaPipeFaceDetector

    detect = MediaPipeFaceDetector().detect
    images = read_fer2013(data_folder / "fer2013.zip", "PrivateTest").images[::36]
    found = [bool(detect(upscaled(image))) for image in images]
    assert np.mean(found) > 0.85
