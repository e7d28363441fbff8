"""Plain-Python twins of kernels.watermark."""


def watermark_scan(times, delay, highest):
    behind = 0
    for index, time in enumerate(times):
        before = max([highest, *times[:index]])
        if time < before - delay:
            behind += 1
    return behind, max([highest, *times])


def watermark_before(times, delay, highest):
    marks = [max([highest, *times[:index]]) - delay for index in range(len(times))]
    return marks, max([highest, *times])
