"""Write the eight demo pictures of the package: data/demo/images/demo-1.png and so on."""

from __future__ import annotations

from squeeze_export.demo import characters


def main() -> None:
    """Draw and save them; each is one demo_image."""
    characters.IMAGES.mkdir(parents=True, exist_ok=True)
    for number, index in enumerate(characters.PICTURES, start=1):
        picture, label = characters.demo_image(characters.PICTURES_SEED, index)
        path = characters.IMAGES / f"demo-{number}.png"
        picture.save(path, optimize=True)
        print(f"{path.name}: {characters.CHARACTERS[label]}, {picture.width} x {picture.height}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
