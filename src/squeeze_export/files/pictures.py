"""Which files are pictures: by their ending those that Pillow reads, by content or ending those that it does not read here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from squeeze_export.files.litter import LFS_POINTER, is_litter

# The formats that cameras, phones and the web use, tried first; Pillow's names of them.
COMMON_FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
# What Pillow reads besides, by format. tests/unit/files/test_image_files.py holds both tables against Pillow's own.
FURTHER_FORMATS: Final = {
    "AVIF": (".avif", ".avifs"), "DIB": (".dib",), "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "TGA": (".tga", ".icb", ".vda", ".vst"), "ICO": (".ico",), "ICNS": (".icns",), "PCX": (".pcx",), "DCX": (".dcx",),
    "DDS": (".dds",), "QOI": (".qoi",), "PSD": (".psd",), "SGI": (".bw", ".rgb", ".rgba", ".sgi"), "SUN": (".ras",),
    "XBM": (".xbm",), "XPM": (".xpm",), "IM": (".im",), "MSP": (".msp",), "PIXAR": (".pxr",), "BLP": (".blp",),
    "FTEX": (".ftc", ".ftu"), "GBR": (".gbr",), "FITS": (".fit", ".fits"), "FLI": (".fli", ".flc"), "PCD": (".pcd",),
    "CUR": (".cur",),
}  # fmt: skip
# Pillow has endings for these and they are left out: Ghostscript, Windows or a plugin would have to read them, or nothing can.
LEFT_OUT: Final = ("EPS", "WMF", "PDF", "PALM", "MPEG", "BUFR", "GRIB", "HDF5", "IPTC")

IMAGE_SUFFIXES: Final = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm", ".pfm",
    *(suffix for suffixes in FURTHER_FORMATS.values() for suffix in suffixes),
)  # fmt: skip
USUAL: Final = ".jpg, .jpeg, .png, .webp, .bmp, .gif, .tif and others that Pillow reads"

# Pictures to a person, which nothing here reads.
_FOREIGN: Final = {
    **dict.fromkeys((".heic", ".heif", ".hif", ".heics"), "HEIC"),
    ".jxl": "JPEG XL",
    ".svg": "SVG",
    **dict.fromkeys(
        (".dng", ".raw", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf"), "RAW"
    ),
    **dict.fromkeys((".pef", ".srw", ".x3f", ".3fr", ".erf", ".kdc", ".mrw", ".rwl"), "RAW"),
}
_SUFFIXES: Final = frozenset((*IMAGE_SUFFIXES, *_FOREIGN))
_HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_LISTED: Final = 5


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The pictures below a folder, relative to it and sorted: to be read, and (path, what it is) of those that cannot be."""

    readable: tuple[Path, ...]
    unreadable: tuple[tuple[Path, str], ...]


def looks_like_a_picture(name: str) -> bool:
    """Whether a file name ends as a picture's does, also a picture's that nothing here reads."""
    return PurePath(name).suffix.lower() in _SUFFIXES


def sorted_out(paths: Iterable[Path], folder: Path) -> Pictures:
    """Take the pictures out of `paths`, which lie below `folder`; hidden files and what file managers leave are none."""
    readable, unreadable = [], []
    for path in paths:
        relative = path.relative_to(folder)
        hidden = is_litter(relative) or any(part.startswith(".") for part in relative.parts)
        if hidden or not looks_like_a_picture(path.name):
            continue
        kind = "a folder" if path.is_dir() else foreign_kind(path)
        if kind is None:
            readable.append(relative)
        else:
            unreadable.append((relative, kind))
    return Pictures(
        readable=tuple(sorted(readable, key=Path.as_posix)),
        unreadable=tuple(sorted(unreadable, key=lambda entry: entry[0].as_posix())),
    )


def foreign_kind(path: Path) -> str | None:
    """What a file with a picture's name is, where nothing here reads that: by its content, or a camera's ending; else None."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        return None  # who reads it tells why it cannot be read
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS and b"avif" not in start:
        return "HEIC"
    if start[4:12] in (b"ftypavif", b"ftypavis") and not _reads_avif():
        return "AVIF"
    if start.startswith(LFS_POINTER):
        return "a Git LFS pointer"
    if start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL"
    if start.startswith(b"%PDF"):
        return "PDF"
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    return _FOREIGN.get(path.suffix.lower())


def _reads_avif() -> bool:
    from PIL import features

    return bool(features.check("avif"))  # not in every build of Pillow


def told(unreadable: Sequence[tuple[Path, str]], folder: Path) -> str:
    """A sentence that counts and names pictures that cannot be read, and says what to do."""
    shown = ", ".join(f"{path.as_posix()} ({kind})" for path, kind in unreadable[:_LISTED])
    more = f" and {len(unreadable) - _LISTED} more" if len(unreadable) > _LISTED else ""
    one = len(unreadable) == 1
    return (
        f"{len(unreadable)} {'file' if one else 'files'} in {folder} {'looks like an image' if one else 'look like images'} "
        f"and cannot be read here: {shown}{more}. Convert {'it' if one else 'them'} to JPEG or PNG."
    )
