    static let side = @SIDE@
    static let classes = @CLASSES@
    static let order = @ORDER@
    static let mean: [Float] = @MEAN@
    static let std: [Float] = @STD@

    /// RGB bytes row by row, side * side * 3 of them, as the file wants them.
    private func prepare(_ rgb: [UInt8]) -> Data {
        precondition(rgb.count == Self.side * Self.side * 3)
        let pixels = Self.side * Self.side
        var input = [@SWIFT_TYPE@](repeating: 0, count: 3 * pixels)
        for pixel in 0..<pixels {
            for place in 0..<3 {
                let channel = Self.order[place]
                let value = rgb[3 * pixel + channel]
                input[@PLACE@] = @SWIFT_VALUE@
            }
        }
        return input.withUnsafeBytes { Data($0) }
    }
