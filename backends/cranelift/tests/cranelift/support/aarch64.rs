//! Kernels on aarch64: linked with a harness in C, and run by qemu.

use drupe_cranelift::{Kind, Machine, emit};
use drupe_kernel::Kernel;
use drupe_kernel_cases::Case;
use drupe_target::Target;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What has to be there to run aarch64 code.
const TOOLS: [&str; 2] = ["aarch64-linux-gnu-gcc", "qemu-aarch64"];

/// The buffers of `cases` after running; none where the tools are missing.
pub fn run(name: &str, cases: &[Case]) -> Option<Vec<Vec<Vec<u8>>>> {
    for tool in TOOLS {
        if Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_err() {
            eprintln!("skipped: {tool} is not installed");
            return None;
        }
    }
    let target = Target::find("aarch64-linux").unwrap();
    let machine = Machine::for_objects(&target, target.levels.last().unwrap());
    let kernels: Vec<Kernel> = cases.iter().map(|case| case.kernel.clone()).collect();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| folder.join(name);
    std::fs::write(file("kernels.o"), emit(&kernels, &machine, Kind::Object).unwrap()).unwrap();
    std::fs::write(file("main.c"), harness(cases)).unwrap();
    let input: Vec<u8> = cases.iter().flat_map(|case| case.buffers.concat()).collect();
    std::fs::write(file("input"), input).unwrap();
    let mut compiler = Command::new(TOOLS[0]);
    compiler.args(["-O0", "-static", "-o"]).arg(file("run")).arg(file("main.c")).arg(file("kernels.o"));
    succeed(&mut compiler);
    let mut emulator = Command::new(TOOLS[1]);
    emulator.arg(file("run")).arg(file("input")).arg(file("output"));
    succeed(&mut emulator);
    Some(outputs(cases, &file("output")))
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn outputs(cases: &[Case], file: &Path) -> Vec<Vec<Vec<u8>>> {
    let all = std::fs::read(file).unwrap();
    let mut rest = all.as_slice();
    let mut next = |size: usize| {
        let (own, others) = rest.split_at(size);
        rest = others;
        own.to_vec()
    };
    cases.iter().map(|case| case.buffers.iter().map(|buffer| next(buffer.len())).collect()).collect()
}

/// A program that reads the buffers of all cases from one file, runs the kernels, and writes the buffers to another.
fn harness(cases: &[Case]) -> String {
    let mut text = String::from("#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n");
    text += "typedef void kernel(uint8_t **, const int64_t *, uint8_t *, int64_t, int64_t);\n";
    let (mut sizes, mut dims, mut table) = (String::new(), String::new(), String::new());
    for case in cases {
        writeln!(text, "kernel {};", case.kernel.name).unwrap();
        case.buffers.iter().for_each(|buffer| write!(sizes, "{},", buffer.len()).unwrap());
        case.dims.iter().for_each(|dim| write!(dims, "{dim},").unwrap());
        let (buffers, count) = (case.buffers.len(), case.dims.len());
        writeln!(table, "  {{{}, {buffers}, {count}, {}}},", case.kernel.name, case.tasks).unwrap();
    }
    writeln!(text, "static const size_t sizes[] = {{{sizes}0}};\nstatic const int64_t dims[] = {{{dims}0}};").unwrap();
    writeln!(text, "static const struct {{ kernel *run; int buffers, dims; int64_t tasks; }} cases[] = {{\n{table}}};")
        .unwrap();
    text += r#"
int main(int count, char **names) {
  FILE *in = fopen(names[1], "rb"), *out = fopen(names[2], "wb");
  const size_t *size = sizes;
  const int64_t *dim = dims;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint8_t *buffers[16];
    for (int b = 0; b < cases[i].buffers; b++) {
      buffers[b] = malloc(size[b] + 1);
      if (fread(buffers[b], 1, size[b], in) != size[b]) return 1;
    }
    cases[i].run(buffers, dim, 0, 0, cases[i].tasks);
    for (int b = 0; b < cases[i].buffers; b++) {
      if (fwrite(buffers[b], 1, size[b], out) != size[b]) return 1;
      free(buffers[b]);
    }
    size += cases[i].buffers;
    dim += cases[i].dims;
  }
  return fclose(out);
}
"#;
    text
}
