//! Whether a text is SPIR-V, as far as can be seen without knowing its instructions.

/// The first word (the specification's section 2.3, as all of the layout).
const MAGIC: u32 = 0x0723_0203;

/// Words before the first instruction: magic, version, generator, bound of ids, schema.
const HEADER: usize = 5;

/// The instruction that ends every module which has code.
const FUNCTION_END: u32 = 56;

/// The words of a module: none unless its instructions fill it exactly and the last ends a function. Drivers believe
/// their input; they crash on a module that is cut off.
pub(crate) fn words(bytes: &[u8]) -> Option<Vec<u32>> {
    let (words, rest) = bytes.as_chunks();
    let words: Vec<u32> = words.iter().map(|&word| u32::from_le_bytes(word)).collect();
    let (header, mut code) = words.split_at_checked(HEADER)?;
    if !rest.is_empty() || header[0] != MAGIC {
        return None;
    }
    let mut last = 0;
    while let Some(&first) = code.first() {
        last = first & 0xFFFF;
        let length = (first >> 16) as usize;
        code = code.get(length.max(1)..).filter(|_| length > 0)?;
    }
    (last == FUNCTION_END).then_some(words)
}
