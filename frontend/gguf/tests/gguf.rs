//! GGUF files written here: what is read from them, and damaged and hostile ones.

use drupe_gguf::{File, Options, Tokenizer, module};
use drupe_ir::DType;
use drupe_language::Weight;

/// A file under construction.
#[derive(Default)]
struct Writer {
    pairs: Vec<Vec<u8>>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Writer {
    fn pair(mut self, key: &str, kind: u32, value: &[u8]) -> Writer {
        self.pairs.push([&text(key)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    fn texts(self, key: &str, values: &[&str]) -> Writer {
        let head = [&8u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        let values: Vec<u8> = values.iter().flat_map(|value| text(value)).collect();
        self.pair(key, 9, &[head, values].concat())
    }

    /// A tensor whose extents are innermost first.
    fn tensor(mut self, name: &str, extents: &[u64], kind: u32, data: &[u8]) -> Writer {
        self.tensors.push((name.into(), extents.to_vec(), kind, data.to_vec()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.pairs.len() as u64).to_le_bytes());
        bytes.extend(self.pairs.concat());
        let mut offset = 0u64;
        for (name, extents, kind, data) in &self.tensors {
            bytes.extend(text(name));
            bytes.extend((extents.len() as u32).to_le_bytes());
            bytes.extend(extents.iter().flat_map(|extent| extent.to_le_bytes()));
            bytes.extend(kind.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            offset += (data.len() as u64).next_multiple_of(32);
        }
        for (_, _, _, data) in &self.tensors {
            bytes.resize(bytes.len().next_multiple_of(32), 0);
            bytes.extend(data);
        }
        bytes
    }
}

/// A tokenizer of three tokens, and a matrix of 2 by 32 in Q4_0.
fn small() -> Writer {
    let block = |scale: u8| [&[0, scale][..], &[0x2f; 16]].concat();
    Writer::default()
        .pair("general.architecture", 8, &text("llama"))
        .pair("tokenizer.ggml.model", 8, &text("gpt2"))
        .texts("tokenizer.ggml.tokens", &["<s>", "a", "b"])
        .texts("tokenizer.ggml.merges", &["a b"])
        .pair("tokenizer.ggml.bos_token_id", 4, &0u32.to_le_bytes())
        .pair("tokenizer.ggml.add_bos_token", 7, &[1])
        .tensor("matrix", &[32, 2], 2, &[block(0x3c), block(0x40)].concat())
}

fn refused(bytes: Vec<u8>) -> String {
    File::parse("broken.gguf", bytes).unwrap_err().to_string()
}

#[test]
fn quantised_weights_are_integers_and_scales() {
    let file = File::parse("small.gguf", small().bytes()).unwrap();
    let Weight::Quantized(matrix) = file.tensors["matrix"].read().unwrap() else { panic!("plain") };
    assert_eq!((matrix.values.dtype, &matrix.values.shape[..], matrix.group), (DType::I4, &[2, 32][..], 32));
    assert_eq!(matrix.scales.to_f32().unwrap(), [1.0, 2.0]);
    assert_eq!(matrix.offsets, None);
    let real = matrix.dequantize().unwrap().to_f32().unwrap();
    // Low nibbles 15 for the first half of a block, high nibbles 2 for the second; 8 is zero.
    assert_eq!((real[0], real[15], real[16], real[32], real[63]), (7.0, 7.0, -6.0, 14.0, -12.0));
}

#[test]
fn the_tokenizer_is_data() {
    let tokenizer = Tokenizer::read(&File::parse("small.gguf", small().bytes()).unwrap()).unwrap();
    assert_eq!((tokenizer.model.as_str(), tokenizer.tokens.len()), ("gpt2", 3));
    assert_eq!(tokenizer.merges, ["a b"]);
    assert_eq!((tokenizer.begin, tokenizer.end, tokenizer.adds_begin), (Some(0), None, Some(true)));
    let wrong = small().pair("tokenizer.ggml.eos_token_id", 4, &3u32.to_le_bytes());
    let error = Tokenizer::read(&File::parse("small.gguf", wrong.bytes()).unwrap()).unwrap_err().to_string();
    assert!(error.contains("`tokenizer.ggml.eos_token_id`: Integer(3) is none of the 3 tokens"), "{error}");
}

#[test]
fn truncations_and_flips_never_panic() {
    let bytes = small().bytes();
    for end in 0..bytes.len() {
        assert!(File::parse("cut.gguf", bytes[..end].to_vec()).is_err(), "{end}");
    }
    // A fixed generator, so that a failure can be seen again.
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        for _ in 0..=random(4) {
            let at = random(damaged.len());
            damaged[at] = if random(2) == 0 { 0xff } else { damaged[at] ^ 1 << random(8) };
        }
        if let Ok(file) = File::parse("flipped.gguf", damaged) {
            let _ = (Tokenizer::read(&file), module(&file, &Options::default()));
            file.tensors.values().for_each(|tensor| drop(tensor.read()));
        }
    }
}

#[test]
fn absurd_sizes_are_refused() {
    let huge = u64::MAX / 2;
    let row = [0; 18];
    assert!(refused(Writer::default().tensor("x", &[huge, 2], 0, &row).bytes()).contains("outside of the file"));
    assert!(refused(Writer::default().tensor("x", &[64], 2, &row).bytes()).contains("outside of the file"));
    assert!(refused(Writer::default().tensor("x", &[31], 2, &row).bytes()).contains("no whole number of blocks"));
    assert!(refused(Writer::default().tensor("x", &[1; 5], 0, &row).bytes()).contains("5 dimensions"));
    assert!(refused(Writer::default().tensor("x", &[256], 10, &row).bytes()).contains("ggml's type 10"));
    let mut counts = small().bytes();
    counts[8..16].copy_from_slice(&huge.to_le_bytes());
    assert!(refused(counts).contains("tensors do not fit"));
    let array = [&0u32.to_le_bytes()[..], &huge.to_le_bytes()].concat();
    assert!(refused(Writer::default().pair("x", 9, &array).bytes()).contains("numbers do not fit"));
    let nested = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat();
    assert!(refused(Writer::default().pair("x", 9, &nested).bytes()).contains("arrays of type 9"));
    let alignment = small().pair("general.alignment", 4, &0u32.to_le_bytes());
    assert!(refused(alignment.bytes()).contains("`general.alignment`"));
}

#[test]
fn files_of_other_kinds_are_refused() {
    assert!(refused(b"GGML".to_vec()).contains("does not begin with GGUF"));
    assert!(refused([&b"GGUF"[..], &1u32.to_le_bytes()].concat()).contains("its version is 1"));
    assert!(refused([&b"GGUF"[..], &3u32.to_be_bytes()].concat()).contains("big-endian"));
    assert!(refused(small().tensor("matrix", &[1], 0, &[0; 4]).bytes()).contains("two tensors are called \"matrix\""));
    let error = |writer: Writer| {
        let file = File::parse("other.gguf", writer.bytes()).unwrap();
        module(&file, &Options::default()).unwrap_err().to_string()
    };
    assert!(error(Writer::default()).contains("`general.architecture` is missing"));
    let mamba = Writer::default().pair("general.architecture", 8, &text("mamba"));
    assert!(error(mamba).contains("the architecture \"mamba\""));
}
