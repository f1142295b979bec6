// Classify a bitmap's pixels with @FILE@ on Android. Put the file and labels.txt into src/main/assets and add
// implementation("com.microsoft.onnxruntime:onnxruntime-android:1.20.0") to build.gradle.kts.
import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import android.content.Context
import java.nio.ByteBuffer
import java.nio.ByteOrder

class Classifier(context: Context) : AutoCloseable {
    private val environment = OrtEnvironment.getEnvironment()
    private val session = environment.createSession(context.assets.open(FILE).use { it.readBytes() })

    // Scores, one a class.
    fun classify(pixels: IntArray): FloatArray {
        val shape = longArrayOf(@KOTLIN_SHAPE@)
        OnnxTensor.createTensor(environment, prepare(pixels), shape, OnnxJavaType.@JAVA_TYPE@).use { input ->
            session.run(mapOf(INPUT to input), setOf(OUTPUT)).use { results ->
                @Suppress("UNCHECKED_CAST")
                return (results.get(OUTPUT).get().value as Array<FloatArray>)[0]
            }
        }
    }

@include prepare.kt@

    override fun close() = session.close()

@include companion.kt@
}
