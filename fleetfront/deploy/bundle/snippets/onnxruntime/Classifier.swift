// Classify an image with @FILE@ on iOS. Add the file and labels.txt to the app's resources, and
// the pod onnxruntime-objc to its Podfile.
import Foundation
import onnxruntime_objc

final class Classifier {
    static let file = "@FILE@"
    static let input = "@INPUT@"
    static let output = "@OUTPUT@"
@include prepare.swift@

    private let session: ORTSession

    init() throws {
        let path = Bundle.main.path(forResource: Self.file, ofType: nil)!
        session = try ORTSession(env: ORTEnv(loggingLevel: .warning), modelPath: path, sessionOptions: nil)
    }

    /// Scores, one a class.
    func classify(_ rgb: [UInt8]) throws -> [Float] {
        let data = NSMutableData(data: prepare(rgb))
        let value = try ORTValue(tensorData: data, elementType: .@ORT_TYPE@, shape: @SHAPE@)
        let results = try session.run(withInputs: [Self.input: value], outputNames: [Self.output], runOptions: nil)
        // The scores lie in the memory of the results.
        return try withExtendedLifetime(results) {
            try (results[Self.output]!.tensorData() as Data).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
        }
    }
}
