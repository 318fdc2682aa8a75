"""Write the eight demo pictures of the package: data/demo/images/demo-1.png and so on."""

from __future__ import annotations

from squeeze_export import demo


def main() -> None:
    """Draw and save them; each is one demo_image."""
    demo.IMAGES.mkdir(parents=True, exist_ok=True)
    for number, index in enumerate(demo.PICTURES, start=1):
        picture, label = demo.demo_image(demo.PICTURES_SEED, index)
        path = demo.IMAGES / f"demo-{number}.png"
        picture.save(path, optimize=True)
        print(f"{path.name}: {demo.CHARACTERS[label]}, {picture.width} x {picture.height}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
