    companion object {
        const val FILE = "@FILE@"
        const val INPUT = "@INPUT@"
        const val OUTPUT = "@OUTPUT@"
        const val SIDE = @SIDE@
        const val CLASSES = @CLASSES@
        private val ORDER = intArrayOf(@KOTLIN_ORDER@)
        private val MEAN = floatArrayOf(@KOTLIN_MEAN@)
        private val STD = floatArrayOf(@KOTLIN_STD@)

        // R is bits 16 to 23, G 8 to 15, B 0 to 7.
        private fun channel(pixel: Int, index: Int) = (pixel shr (16 - 8 * index)) and 0xFF
    }
