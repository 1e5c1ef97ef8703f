"""The cost of the page of `vidtldr show`."""

from doc_tables.results import made_by, read


def show_cost() -> str:
    """Write the cost, from 05_show_cost.py and 11_page_frames.py."""
    cost, frames = read("05_show_cost"), read("11_page_frames")
    share = {
        name: f"{side['of_merged_forward']['median']:.0%}" for name, side in cost["results"].items()
    }
    drawn = frames["first"]
    return "\n\n".join(
        [
            f"Building the page takes {share['page']} of the time of the merged forward that it "
            f"shows, contact sheets and features {share['contact sheet and features']}, and a "
            f"video of the same frames {share['video of the same frames']} (UMT-B). Stepping "
            f"through the {drawn['num_frames']} pictures of a page, one for each layer and frame, "
            f"in a browser without a GPU, {drawn['shown_at_60_a_second']:.0%} of them were drawn "
            "at 60 per second.",
            made_by(cost),
            made_by(frames),
        ]
    )
