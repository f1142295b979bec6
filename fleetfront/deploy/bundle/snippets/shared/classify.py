def classify(pixels):
    """(index, label, score) of the likeliest class of pixels uint8[@SIDE@, @SIDE@, 3]."""
    scores = run(prepare(pixels))[0]
    index = int(np.argmax(scores))
    return index, LABELS[index] if LABELS else str(index), float(scores[index])


if __name__ == "__main__":
    print(*classify(pixels_of(sys.argv[1])))
