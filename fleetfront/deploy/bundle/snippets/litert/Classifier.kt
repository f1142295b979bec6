// Classify a bitmap's pixels with @FILE@ on Android. Put the file and labels.txt into src/main/assets and add
// implementation("com.google.ai.edge.litert:litert:1.4.1") to build.gradle.kts.
import android.content.Context
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.tensorflow.lite.Interpreter

class Classifier(context: Context) : AutoCloseable {
    private val interpreter = context.assets.openFd(FILE).use { file ->
        file.createInputStream().channel.use {
            Interpreter(it.map(FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength))
        }
    }

    // Scores, one a class.
    fun classify(pixels: IntArray): FloatArray {
        val scores = Array(1) { FloatArray(CLASSES) }
        interpreter.runSignature(mapOf(INPUT to prepare(pixels)), mapOf(OUTPUT to scores), "serving_default")
        return scores[0]
    }

@include prepare.kt@

    override fun close() = interpreter.close()

@include companion.kt@
}
