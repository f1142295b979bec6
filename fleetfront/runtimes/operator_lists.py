"""Lists of the operators that runtimes and delegates publish as theirs, by the words of the file format."""

from __future__ import annotations

from fleetfront.runtimes.facts import Engine


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: TensorFlow's lite/delegates/xnnpack/README.md: in float, and those that it takes in float alone.
XNNPACK = _words("""
    ABS ADD AVERAGE_POOL_2D BATCH_MATMUL CEIL CONCATENATION CONV_2D COS DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE
    DIV ELU EXP EXPAND_DIMS FLOOR FULLY_CONNECTED GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC MAX_POOL_2D MAXIMUM MEAN
    MINIMUM MUL NEG PAD PRELU QUANTIZE RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR ROUND RSQRT SIN SLICE SOFTMAX
    SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV
""")
XNNPACK_FLOAT_ONLY = _words("HARD_SWISH")
#: Those that it takes with narrow weights beside narrow or float inputs, but not beside inputs rounded as they come.
XNNPACK_NOT_HYBRID = _words("DEPTHWISE_CONV_2D")

#: LiteRT's documentation of the GPU delegate, with what lite/delegates/gpu/common/model_builder.cc parses beside.
GPU_DELEGATE = _words("""
    ABS ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D COS CUMSUM DENSIFY DEPTH_TO_SPACE
    DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER
    GREATER_EQUAL HARD_SWISH L2_NORMALIZATION LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGISTIC LSTM MAX_POOL_2D
    MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE REDUCE_MAX
    REDUCE_MIN REDUCE_PROD RELU RELU_0_TO_1 RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT
    SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE
    STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV UNPACK
""")

#: ONNX Runtime's package (onnxruntime/tools/mobile_helpers): what its NNAPI or CoreML providers take. HardSwish is
#: spelled out as HardSigmoid and Mul before they see it.
MOBILE_PROVIDERS = _words("""
    Add AveragePool Cast Clip Concat Conv DequantizeLinear Div Flatten Gather Gemm GlobalAveragePool GlobalMaxPool
    HardSigmoid HardSwish Identity LeakyRelu MatMul MaxPool Mul Pad PRelu QuantizeLinear ReduceMean Relu Reshape
    Resize Sigmoid Slice Softmax Split Sqrt Squeeze Sub Tanh Transpose Unsqueeze
""")

#: onnx-tensorrt's docs/operators.md: what it marks as not supported, in every version looked at.
TENSORRT_REFUSES = _words("""
    BitShift Compress ConcatFromSequence ConvInteger Det DynamicQuantizeLinear MatMulInteger MaxRoiPool MaxUnpool
    Multinomial NegativeLogLikelihoodLoss QLinearConv QLinearMatMul SequenceAt SequenceConstruct SequenceEmpty
    SequenceErase SequenceInsert SequenceLength SoftmaxCrossEntropyLoss SplitToSequence StringNormalizer
    TfIdfVectorizer Unique
""")

LITERT_ENGINES = (
    Engine("LiteRT", "tflite", foreign=("custom TFLite_Detection_PostProcess",)),
    Engine("XNNPACK, LiteRT's fast path on CPUs", "tflite", XNNPACK, leaves="run in LiteRT's slower kernels"),
    Engine("LiteRT's GPU delegate", "tflite", GPU_DELEGATE, leaves="run on the CPU"),
)
ONNXRUNTIME_ENGINES = (
    Engine("ONNX Runtime", "onnx", foreign=("ai.onnx.ml.", "com.microsoft.", "com.ms.internal.nhwc.")),
    Engine(
        "ONNX Runtime's NNAPI and CoreML providers",
        "onnx",
        MOBILE_PROVIDERS,
        leaves="run on the CPU",
        wants_fixed_shapes=True,
    ),
)
TENSORRT_ENGINES = (Engine("TensorRT", "onnx", refuses=TENSORRT_REFUSES),)
