// Classify an image with @FILE@ on iOS. Add the file and labels.txt to the app's resources, and
// the pod TensorFlowLiteSwift to its Podfile.
import Foundation
import TensorFlowLite

final class Classifier {
    static let file = "@FILE@"
    static let input = "@INPUT@"
    static let output = "@OUTPUT@"
@include prepare.swift@

    private let interpreter: Interpreter

    init() throws {
        let path = Bundle.main.path(forResource: Self.file, ofType: nil)!
        interpreter = try Interpreter(modelPath: path)
        try interpreter.allocateTensors()
    }

    /// Scores, one a class.
    func classify(_ rgb: [UInt8]) throws -> [Float] {
        try interpreter.copy(prepare(rgb), toInputAt: 0)
        try interpreter.invoke()
        return try interpreter.output(at: 0).data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }
}
