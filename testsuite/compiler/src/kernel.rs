//! Kernels: text in, the buffers it writes out.
//!
//! ```text
//! // test: kernel
//! // dims 3
//! // tasks 2
//! // buffer x = [1.0, 2.0] : f32[2]
//! // buffer y = [0.0, 0.0] : f32[2]
//! kernel @neg(read x: f32, write y: f32) dims 1 task %0 {
//! ```

use crate::Tensors;
use crate::run::backends;
use drupe::CompileOptions;
use drupe_ir::{DType, Dim, TensorData, Type};
use drupe_kernel::{Access, Kernel, KernelBuilder, parse};
use drupe_kernel_cases::Case;
use drupe_lower::{Arg, Buffer, BufferId, KernelId, KernelVariants, Place, Port, Program, Step, Work};
use drupe_testsuite::{FileTest, literal};

/// `kernel`: the buffers that the kernel writes, when it is interpreted; every backend's code writes the same.
pub fn kernel(test: &FileTest) -> Result<String, String> {
    let (case, initial) = case(test)?;
    let written = interpret(&case)?;
    for backend in backends() {
        let options = CompileOptions { backend, ..CompileOptions::default() };
        for level in drupe::stages::target(&options).levels {
            let way = format!("{}, {}", backend.name(), level.name);
            let found = compiled(&case, &initial, &options, &level.name).map_err(|error| format!("{way}: {error}"))?;
            if let Some(difference) = case.difference(&found) {
                return Err(format!("{way}: {difference}"));
            }
        }
    }
    let mut text = String::new();
    for (number, parameter) in case.kernel.buffers.iter().enumerate().filter(|(_, p)| p.access != Access::Read) {
        let shape = initial[number].shape.clone();
        let data = TensorData::from_bytes(parameter.dtype, shape, written[number].clone());
        let data = data.map_err(|error| error.to_string())?;
        text += &format!("{} = {}\n", parameter.name, data.literal());
    }
    Ok(text)
}

/// `kernel-error`: why the kernel is refused: by the reader, the verifier or the interpreter.
pub fn kernel_error(test: &FileTest) -> Result<String, String> {
    let kernel = match parse(&test.text, test.file()) {
        Ok(kernel) => kernel,
        Err(error) => return Ok(error.to_string()),
    };
    match kernel.verify() {
        Ok(()) => match interpret(&case(test)?.0) {
            Ok(_) => Err("no error".into()),
            Err(error) => Ok(error),
        },
        Err(error) => Ok(error.to_string()),
    }
}

/// The kernel with its data, and the data as tensors.
fn case(test: &FileTest) -> Result<(Case, Vec<TensorData>), String> {
    let kernel = parse(&test.text, test.file()).map_err(|error| error.to_string())?;
    kernel.verify().map_err(|error| error.to_string())?;
    read_back(&kernel)?;
    let mut given = test.lines("buffer").map(literal).collect::<Result<Tensors, String>>()?;
    let mut initial = Vec::new();
    for parameter in &kernel.buffers {
        let name = &parameter.name;
        let data = given.swap_remove(name).ok_or_else(|| format!("a line `// buffer {name} = ...` is missing"))?;
        if data.dtype != parameter.dtype {
            return Err(format!("the buffer {name} is {}, not {}", parameter.dtype, data.dtype));
        }
        initial.push(data);
    }
    let numbers = |key: &str| {
        let line = test.lines(key).next().unwrap_or_default();
        let numbers = line.split_whitespace().map(str::parse).collect::<Result<Vec<i64>, _>>();
        numbers.map_err(|_| format!("`// {key}` takes numbers"))
    };
    let (dims, tasks) = (numbers("dims")?, numbers("tasks")?);
    if dims.len() != kernel.dims {
        return Err(format!("{} numbers behind `// dims`, {} expected", dims.len(), kernel.dims));
    }
    let buffers = initial.iter().map(|data| data.bytes().to_vec()).collect();
    Ok((Case { kernel, buffers, dims, tasks: tasks.first().copied().unwrap_or(1) }, initial))
}

/// That the kernel as text is the kernel.
pub fn read_back(kernel: &Kernel) -> Result<(), String> {
    let text = kernel.to_string();
    let again = parse(&text, "printed").map_err(|error| format!("{error}\n{text}"))?.to_string();
    if again == text { Ok(()) } else { Err(format!("printed, read and printed, it differs:\n{text}\n{again}")) }
}

fn interpret(case: &Case) -> Result<Vec<Vec<u8>>, String> {
    let mut buffers = case.buffers.clone();
    let run = case.kernel.interpret(&mut buffers, &case.dims, 0..case.tasks);
    run.map(|()| buffers).map_err(|error| error.to_string())
}

/// The buffers after the kernel has run as compiled: a program whose inputs are the buffers before, and whose outputs
/// are those that the kernel writes.
fn compiled(
    case: &Case,
    initial: &[TensorData],
    options: &CompileOptions,
    level: &str,
) -> Result<Vec<Vec<u8>>, String> {
    let levels = drupe::stages::target(options).levels.len();
    let (mut buffers, mut inputs, mut outputs, mut args) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let arg = |buffer, writes| Arg { buffer: BufferId(buffer), offset: Dim::from(0), writes };
    let mut runs: Vec<(Kernel, Vec<Arg>, i64)> = Vec::new();
    for (parameter, data) in case.kernel.buffers.iter().zip(initial) {
        let (name, ty) = (&parameter.name, Type::new(data.dtype, data.shape.iter().map(|extent| *extent as i64)));
        let port = |buffer| Port { name: name.clone(), ty: ty.clone(), buffer: BufferId(buffer) };
        let buffer = |place| Buffer { name: name.clone(), bytes: ty.bytes(), place };
        let input = buffers.len();
        buffers.push(buffer(Place::Input));
        inputs.push(port(input));
        if parameter.access == Access::Read {
            args.push(arg(input, false));
        } else {
            buffers.push(buffer(Place::Output));
            outputs.push(port(input + 1));
            args.push(arg(input + 1, true));
            runs.push((copy(data.dtype), vec![arg(input, false), arg(input + 1, true)], data.elements() as i64));
        }
    }
    runs.push((case.kernel.clone(), args, case.tasks));
    let (mut kernels, mut steps) = (Vec::new(), Vec::new());
    for (number, (kernel, args, tasks)) in runs.into_iter().enumerate() {
        let name = format!("{}_{number}", kernel.name);
        let dims = case.dims[..kernel.dims].iter().map(|dim| Dim::from(*dim)).collect();
        kernels.push(KernelVariants { name: name.clone(), levels: vec![Kernel { name, ..kernel }; levels] });
        steps.push(Step {
            work: Work::Kernel(KernelId(number)),
            args,
            dims,
            tasks: Dim::from(tasks),
            origin: Default::default(),
            result: None,
            flops: Dim::from(0),
            bytes: Dim::from(0),
        });
    }
    let (name, symbols) = (case.kernel.name.clone(), Default::default());
    let program = Program {
        name,
        entry: String::new(),
        for_gpu: false,
        symbols,
        inputs,
        outputs,
        states: Vec::new(),
        buffers,
        kernels,
        shaders: Vec::new(),
        steps,
    };
    let code = drupe::stages::emit(&[&program], options).map_err(|error| error.to_string())?;
    let artifact = drupe::stages::write(&[&program], &code, options).map_err(|error| error.to_string())?;
    let names = case.kernel.buffers.iter().map(|parameter| parameter.name.clone());
    let before: Tensors = names.clone().zip(initial.iter().cloned()).collect();
    let after = crate::outputs(&artifact, Some(level), 1, &before)?;
    Ok(names.map(|name| after.get(&name).unwrap_or(&before[&name]).bytes().to_vec()).collect())
}

/// Copies an element a task.
fn copy(dtype: DType) -> Kernel {
    let mut b = KernelBuilder::new("copy");
    let (from, to) = (b.buffer("from", dtype, Access::Read), b.buffer("to", dtype, Access::Write));
    let at = b.task();
    let value = b.load(drupe_kernel::Place::Buffer(from), at, drupe_kernel::Type::scalar(dtype));
    b.store(drupe_kernel::Place::Buffer(to), at, value);
    b.finish()
}
