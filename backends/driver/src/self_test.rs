//! Self-tests: what a shader of each kind must compute on a device before that device is trusted.
//!
//! Shaders with the same features of the kernel IR are a *family*: a driver that compiles one of them wrongly may do so
//! with all. The cheapest member of each gets a test: its task 0 is interpreted on the contents that runtime and
//! compiler agree on ([`drupe_format::test_pattern`]), and some of the elements it writes are expected of the device.
//!
//! A test must not refuse a device that is right, so what rounding alone can change is not expected: the kernel runs
//! three times, the second and third on floats that are some units in the last place off, and an element counts if all
//! runs agree. In those two the arguments that are only written start as the inverse of the pattern, so that what no
//! task has written differs.

mod effort;

use crate::plan::port_dtype;
use crate::shaders::ShaderCode;
use drupe_eval::Tolerance;
use drupe_format::plan::{SelfTest, TestValue};
use drupe_format::{DType, test_bytes, test_pattern};
use drupe_ir::Dim;
use drupe_kernel::{Access, BufferParam, Kernel};
use drupe_lower::{Arg, Program, ShaderId, ShaderVariants, Step, Work};
use half::{bf16, f16};
use std::collections::BTreeMap;

/// Most bytes of all arguments: the runtime fills and uploads them when it loads the plan.
const MOST_BYTES: u64 = 32 << 20;

/// Least values of symbols, with the most bytes that the arguments may then have. 15 runs through whole vectors, what is
/// left after them, and most of a tile; where it makes images of many, the least extents do; the others are for models
/// that take no less.
const EXTENTS: [(u64, u64); 5] = [(15, 1 << 20), (0, MOST_BYTES), (8, MOST_BYTES), (64, MOST_BYTES), (512, MOST_BYTES)];

/// Most instructions of one run, counted for every invocation: some tenths of a second.
const MOST_WORK: u64 = 3_000_000;

/// Most elements that a test looks at.
const MOST_VALUES: usize = 64;

/// Most members of a family that are tried.
const MOST_TRIES: usize = 4;

/// Gives one shader of each family of `program` its test; `codes` are its shaders.
pub(crate) fn add(program: &Program, codes: &mut [ShaderCode]) {
    let mut families: BTreeMap<String, Vec<Call>> = BTreeMap::new();
    for step in &program.steps {
        let Work::Shader(ShaderId(shader)) = step.work else { continue };
        let kernel = &program.shaders[shader].plain;
        if let Some(call) = call(program, step, shader, kernel) {
            families.entry(family(&program.shaders[shader])).or_default().push(call);
        }
    }
    for (family, mut calls) in families {
        calls.sort();
        calls.dedup();
        let tests = calls.iter().take(MOST_TRIES);
        let mut found = tests.filter_map(|call| {
            let test = test(&program.shaders[call.shader].plain, call, &family)?;
            Some((call.shader, test))
        });
        if let Some((shader, test)) = found.next() {
            codes[shader].test = Some(test);
        }
    }
}

/// What makes shaders alike, for people: `contract f32, shared memory, workgroup 128`.
pub(crate) fn family(shader: &ShaderVariants) -> String {
    let kernel = &shader.plain;
    let name = kernel.name.strip_prefix("drupe_").unwrap_or(&kernel.name);
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
    // A kernel of constants tests less than others.
    let stem = if kernel.buffers.iter().all(|buffer| buffer.access == Access::Write) { "fill" } else { stem };
    let of = |written: bool| kernel.buffers.iter().filter(move |buffer| (buffer.access != Access::Read) == written);
    let mut results: Vec<&str> = of(true).map(|buffer| buffer.dtype.name()).collect();
    results.dedup();
    let uses = |dtype| kernel.types.iter().any(|ty| ty.dtype == dtype);
    let packed = |written| of(written).any(|buffer| buffer.dtype.bits() < 32 && buffer.dtype != drupe_ir::DType::F16);
    // Other 64-bit integers are addresses, which shaders compute in 32 bits.
    let wide = kernel.buffers.iter().any(|buffer| buffer.dtype.is_int() && buffer.dtype.bits() == 64);
    let features = [
        ("shared memory", !kernel.shared.is_empty()),
        ("private arrays", !kernel.locals.is_empty()),
        ("across", kernel.combines_across()),
        ("products of octets", kernel.multiplies_octets()),
        ("packed loads", packed(false)),
        ("packed stores", packed(true)),
        ("f16", uses(drupe_ir::DType::F16)),
        ("f64", uses(drupe_ir::DType::F64)),
        ("int64", wide),
    ];
    let mut text = format!("{stem} {}", results.join(" and "));
    let told = |name: &str| results.contains(&name);
    features.iter().filter(|(name, used)| *used && !told(name)).for_each(|(name, _)| text += &format!(", {name}"));
    for tile in shader.cooperative.iter().flat_map(|kernel| kernel.tiles.first()) {
        text += &format!(", tiles of {}", tile.side);
    }
    text + &format!(", workgroup {}", kernel.workgroup)
}

/// A step's shader with numbers for all symbols. Cheap ones come first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    /// Instructions of all invocations, and bytes.
    cost: u64,
    shader: usize,
    dims: Vec<i32>,
    sizes: Vec<u64>,
}

/// The call of `step`, if it is cheap enough to be a test.
fn call(program: &Program, step: &Step, shader: usize, kernel: &Kernel) -> Option<Call> {
    EXTENTS.into_iter().find_map(|(least, most_bytes)| {
        let value_of = |name: &str| {
            let range = program.symbols.get(name)?;
            i64::try_from(range.min.max(least).min(range.max)).ok()
        };
        let number = |dim: &Dim| dim.eval(&value_of).ok();
        if number(&step.tasks)? < 1 {
            return None;
        }
        let dims = step.dims.iter().map(|dim| i32::try_from(number(dim)?).ok()).collect::<Option<Vec<i32>>>()?;
        let size = |arg: &Arg| {
            let bytes = number(&program.buffers[arg.buffer.0].bytes)?.checked_sub(number(&arg.offset)?)?;
            u64::try_from(bytes).ok().filter(|bytes| (1..=most_bytes).contains(bytes))
        };
        let sizes = step.args.iter().map(|arg| Some(size(arg)?.next_multiple_of(16))).collect::<Option<Vec<u64>>>()?;
        let bytes: u64 = sizes.iter().sum();
        let work = effort::instructions(kernel, &dims)?;
        (bytes <= most_bytes && work <= MOST_WORK).then_some(Call { cost: work + bytes, shader, dims, sizes })
    })
}

/// The test of `kernel` by `call`; none where the interpreter finds an access out of bounds (data are addresses, and
/// the pattern's are none), or no element tells anything.
fn test(kernel: &Kernel, call: &Call, family: &str) -> Option<SelfTest> {
    let dtypes = kernel.buffers.iter().map(|buffer| port_dtype(buffer.dtype)).collect::<Option<Vec<DType>>>()?;
    let run = &|start: Start| {
        let mut buffers = start.buffers(kernel, &dtypes, &call.sizes);
        let dims: Vec<i64> = call.dims.iter().map(|dim| i64::from(*dim)).collect();
        kernel.interpret(&mut buffers, &dims, 0..1).ok().map(|()| buffers)
    };
    let [pattern, above, below] = std::thread::scope(|scope| {
        let starts = [Start::Pattern, Start::Nearby { sign: 1 }, Start::Nearby { sign: -1 }];
        let runs = starts.map(|start| scope.spawn(move || run(start)));
        runs.map(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let runs = [pattern?, above?, below?];
    let mut expected = Vec::new();
    let mut tolerance = 0.0_f32;
    for (argument, buffer) in kernel.buffers.iter().enumerate() {
        let dtype = dtypes[argument];
        if buffer.access == Access::Read || dtype == DType::F64 {
            continue;
        }
        let bound = Tolerance::Compiled.bound(buffer.dtype) as f32;
        tolerance = tolerance.max(bound);
        for index in 0..call.sizes[argument] / dtype.size() as u64 {
            let offset = index as usize * dtype.size();
            let [result, others @ ..] = runs.each_ref().map(|run| element(&run[argument][offset..], dtype));
            let pattern = test_pattern(argument as u32, index, dtype);
            // What is read before it is written starts as the pattern in all runs.
            let unchanged = buffer.access == Access::ReadWrite && result == pattern;
            if !unchanged && others.iter().all(|other| agree(dtype, result, *other, bound / 2.0)) {
                expected.push(TestValue { argument: argument as u32, offset: offset as u64, bits: result as u32 });
            }
        }
    }
    if expected.is_empty() {
        return None;
    }
    Some(SelfTest {
        family: family.into(),
        dims: call.dims.clone(),
        sizes: call.sizes.clone(),
        dtypes,
        expected: spread(&expected),
        tolerance,
    })
}

/// What arguments hold before a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// What they hold in the runtime.
    Pattern,
    /// Floats that are some units in the last place above (`sign` 1) or below it (-1), or the other way around, and the
    /// inverse where nothing is read.
    Nearby { sign: i32 },
}

impl Start {
    fn buffers(self, kernel: &Kernel, dtypes: &[DType], sizes: &[u64]) -> Vec<Vec<u8>> {
        let arguments = kernel.buffers.iter().zip(sizes.iter().zip(dtypes)).enumerate();
        let buffer = |(argument, (buffer, (size, dtype))): (usize, (&BufferParam, (&u64, &DType)))| {
            let mut bytes = test_bytes(argument as u32, *dtype, *size as usize);
            match self {
                Start::Pattern => {}
                Start::Nearby { .. } if buffer.access == Access::Write => {
                    bytes.iter_mut().for_each(|byte| *byte = !*byte);
                }
                Start::Nearby { sign } => nudge(&mut bytes, argument as u32, *dtype, sign),
            }
            bytes
        };
        arguments.map(buffer).collect()
    }
}

/// Moves floats of 32 bits by 1 to 7 units in the last place; zeros stay. Narrower ones are left alone: one unit of
/// theirs is more than results may be off.
fn nudge(bytes: &mut [u8], argument: u32, dtype: DType, sign: i32) {
    if dtype != DType::F32 {
        return;
    }
    for (index, float) in bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let bits = u32::from_le_bytes(*float);
        if bits << 1 != 0 {
            // Another hash than that of the contents.
            let units = 2 * test_pattern(argument ^ 0x8000, index as u64, DType::I32) as i32 - 7;
            *float = bits.wrapping_add_signed(sign * units).to_le_bytes();
        }
    }
}

fn element(bytes: &[u8], dtype: DType) -> u64 {
    let mut word = [0; 8];
    word[..dtype.size()].copy_from_slice(&bytes[..dtype.size()]);
    u64::from_le_bytes(word)
}

/// Whether two results are the same but for rounding. What is no finite number never is: devices need not give it.
fn agree(dtype: DType, a: u64, b: u64, tolerance: f32) -> bool {
    let float: fn(u64) -> f32 = match dtype {
        DType::F32 => |bits| f32::from_bits(bits as u32),
        DType::F16 => |bits| f16::from_bits(bits as u16).to_f32(),
        DType::BF16 => |bits| bf16::from_bits(bits as u16).to_f32(),
        DType::F64 => |bits| f64::from_bits(bits) as f32,
        DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I32 | DType::U32 => return a == b,
        DType::I64 | DType::U64 | DType::Bool => return a == b,
    };
    let (a, b) = (float(a), float(b));
    a.is_finite() && (a - b).abs() <= tolerance * a.abs().max(1.0)
}

/// At most [`MOST_VALUES`] of `all`, evenly, with the first and the last.
fn spread(all: &[TestValue]) -> Vec<TestValue> {
    let count = all.len().min(MOST_VALUES);
    (0..count).map(|index| all[index * (all.len() - 1) / (count - 1).max(1)]).collect()
}
