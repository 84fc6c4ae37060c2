"""The report for people."""

# With more of the cores than this, other processes disturb threads that wait for each other.
QUIET = 0.05


def model_text(name, figures):
    inputs = ", ".join(f"{port} {shape}" for port, shape in figures["inputs"].items())
    files = ", ".join(f"{engine} {size(count)}" for engine, count in figures["file_bytes"].items())
    return (
        f"\n{name}: {inputs}\n"
        f"drupe compiled it in {figures['compile_seconds']:.2f} s, arena {size(figures['arena_bytes'])} (no plan needs less "
        f"than {size(figures['arena_lower_bound_bytes'])}); files: {files}\n"
    )


def contests_text(contests):
    rows = [["threads", "engine", "median ms", "p10", "p90", "drupe's time / its", "load to result, ms", "error"]]
    notes = []
    for contest in contests:
        for engine, figures in contest["engines"].items():
            if "left_out" in figures:
                reason = figures["left_out"].splitlines()[0]
                notes.append(f"  {engine} with {contest['threads']} threads is left out: {reason}")
                continue
            times = [f"{figures[key]:.2f}" for key in ("median_ms", "p10_ms", "p90_ms")]
            end = [ratio_text(figures), f"{figures['load_ms']:.1f}", f"{figures['error']:.1e}"]
            rows.append([str(contest["threads"]), engine, *times, *end])
    return "\n".join([table(rows), *notes])


def closing_text(models):
    contests = [(model["name"], contest) for model in models for contest in model.get("contests", [])]
    peers = dict.fromkeys(name for _, contest in contests for name in contest["engines"] if name != "drupe")
    rows = [["model", "threads", *peers, "others' share of the cores"]]
    for name, contest in contests:
        ratios = [ratio_text(contest["engines"].get(peer, {})) or "-" for peer in peers]
        others = contest["others_share"]
        rows.append([name, str(contest["threads"]), *ratios, "unknown" if others is None else f"{others:.0%}"])
    text = f"\ndrupe's time over each peer's (below 1: drupe is faster), with 95 % intervals\n{table(rows)}\n"
    if max((contest["others_share"] or 0 for _, contest in contests), default=0) > QUIET:
        text += "Other processes were busy: these figures are noisy. Measure again on a quiet machine.\n"
    for model in models:
        if model["failed"]:
            text += f"{model['name']}: drupe FAILED: {model['failed']}\n"
    return text


def ratio_text(figures):
    ratio = figures.get("ratio")
    return "{median:.3f} ({low:.3f} .. {high:.3f})".format(**ratio) if ratio else ""


def size(count):
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def table(rows):
    """Columns as wide as they need, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    right = [all(cell[:1].isdigit() or cell in ("", "-") for cell in column[1:]) for column in zip(*rows)]
    lines = [
        "  ".join(cell.rjust(width) if number else cell.ljust(width) for cell, width, number in zip(row, widths, right))
        for row in rows
    ]
    return "\n".join("  " + line.rstrip() for line in lines)
