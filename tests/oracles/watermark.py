"""Plain-Python twins of kernels.watermark."""


def watermark_scan(times, delay):
    behind = sum(time < max(times[:index]) - delay for index, time in enumerate(times) if index)
    return behind, min(times), max(times)


def watermark_before(times, delay, highest):
    marks = [max([highest, *times[:index]]) - delay for index in range(len(times))]
    return marks, max([highest, *times])
