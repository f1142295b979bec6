    // Pixels as Bitmap.getPixels gives them (0xAARRGGBB), SIDE * SIDE of them.
    private fun prepare(pixels: IntArray): ByteBuffer {
        require(pixels.size == SIDE * SIDE)
        val input = ByteBuffer.allocateDirect(@BYTES@).order(ByteOrder.nativeOrder())
        @KOTLIN_LOOP@
        input.rewind()
        return input
    }
