//! Programs for 64-bit Arm, run by an emulator on any machine.
//!
//! The code is linked into an image as for an artifact; a program in C (`harness.c`), itself run by `qemu-aarch64`,
//! maps the image and runs the steps of a job file (`job.rs`). So the plan and the runtime have no part in it:
//! they are the same on every machine, and their own tests judge them.

mod job;

use crate::{Tensors, root};
use drupe_ir::{Diagnostic, TensorData};
use drupe_link::Image;
use drupe_lower::Program;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An emulated processor.
#[derive(Clone, Debug)]
pub struct Emulator {
    cpu: String,
    folder: Arc<Folder>,
}

/// A program on an emulated processor.
#[derive(Debug)]
pub struct Emulated {
    emulator: Emulator,
    program: Program,
    image: Image,
    /// Of files in the emulator's folder.
    number: usize,
}

impl Emulator {
    /// An emulator of the processor that `qemu-aarch64 -cpu help` lists as `cpu`.
    pub fn new(cpu: &str) -> Result<Emulator, Diagnostic> {
        let folder = Folder::new().map_err(failed)?;
        let (source, harness) = (folder.path.join("harness.c"), folder.path.join("harness"));
        fs::write(&source, include_str!("emulation/harness.c")).map_err(failed)?;
        run(Command::new("aarch64-linux-gnu-gcc").args(["-O1", "-static", "-o"]).args([harness, source]))?;
        Ok(Emulator { cpu: cpu.into(), folder: Arc::new(folder) })
    }

    /// Links `objects`, the code of `program`.
    pub fn load(&self, program: Program, objects: &[Vec<u8>]) -> Result<Emulated, Diagnostic> {
        let names: Vec<String> = program.kernels.iter().map(|kernel| kernel.name.clone()).collect();
        let objects: Vec<&[u8]> = objects.iter().map(Vec::as_slice).collect();
        let image = drupe_link::link(&objects, &names).map_err(|error| Diagnostic::new("link", error))?;
        let number = self.folder.numbers.fetch_add(1, Ordering::Relaxed);
        Ok(Emulated { emulator: self.clone(), program, image, number })
    }
}

impl Emulated {
    /// The outputs for `inputs`.
    pub fn run(&self, inputs: &Tensors) -> Result<Tensors, Diagnostic> {
        let job = job::job(&self.program, &self.image.entries, inputs)?;
        let file = |end: &str| self.emulator.folder.path.join(format!("{}.{end}", self.number));
        let (image, job_file, output) = (file("image"), file("job"), file("output"));
        fs::write(&image, &self.image.bytes).map_err(failed)?;
        fs::write(&job_file, &job.bytes).map_err(failed)?;
        let mut command = Command::new("qemu-aarch64");
        command.args(["-cpu", &self.emulator.cpu]).arg(self.emulator.folder.path.join("harness"));
        run(command.args([&image, &job_file, &output]))?;
        let bytes = fs::read(&output).map_err(failed)?;
        // Jobs are as large as models.
        [image, job_file, output].iter().try_for_each(fs::remove_file).map_err(failed)?;
        let mut rest = bytes.as_slice();
        let tensor = |(port, shape): (&drupe_lower::Port, Vec<usize>)| {
            let size = port.ty.dtype.bytes_of(shape.iter().product());
            let (own, others) = rest.split_at_checked(size).ok_or_else(|| failed("the output is too short"))?;
            rest = others;
            Ok((port.name.clone(), TensorData::from_bytes(port.ty.dtype, shape, own.to_vec()).map_err(failed)?))
        };
        self.program.outputs.iter().zip(job.output_shapes).map(tensor).collect()
    }
}

/// A folder of this process and emulator, removed in the end.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// For the names of files.
    numbers: AtomicUsize,
}

impl Folder {
    fn new() -> std::io::Result<Folder> {
        static NUMBERS: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{}-{}", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed));
        let path = root().join("target/emulation").join(name);
        fs::create_dir_all(&path)?;
        Ok(Folder { path, numbers: AtomicUsize::new(0) })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays among what is built.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn run(command: &mut Command) -> Result<(), Diagnostic> {
    let name = command.get_program().to_string_lossy().to_string();
    let output = command.output().map_err(|error| {
        failed(format!("{name}: {error}")).help("`./x setup` installs the emulator and its compiler")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{name}: {}\n{}", output.status, said.trim_end())))
}

fn failed(error: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::new("emulation", error)
}
