//! `drupe devices`: the GPUs of this machine, and sessions on them.

use crate::commands::model::{CompileArgs, Device, runtime_error};
use crate::commands::table::Table;
use crate::console;
use drupe_ir::Diagnostic;
use drupe_runtime::{Options, Program, Session};
use drupe_runtime_gpu::{Choice, DeviceKind, GpuOptions, devices, open_session, open_sessions};

/// List this machine's GPUs: what they can do, and how much of it.
///
/// Part of a name goes to `--adapter` of `drupe run` and `drupe bench`.
#[derive(clap::Args, Debug)]
pub(crate) struct Devices {}

impl Devices {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        let devices = devices();
        if devices.is_empty() {
            return console::print("no GPU found: Vulkan or Metal and a driver for them are needed\n");
        }
        let mut table =
            Table::new(["device", "kind", "by", "features", "subgroup", "workgroup", "binding", "queues", "driver"]);
        for device in devices {
            let limits = &device.limits;
            let kind = match device.kind {
                DeviceKind::Discrete => "discrete",
                DeviceKind::Integrated => "integrated",
                DeviceKind::Virtual => "virtual",
                DeviceKind::Software => "software",
                DeviceKind::Unknown => "unknown",
            };
            let shaders = if device.takes_shaders { "" } else { ", takes no artifacts" };
            table.row([
                device.name,
                kind.into(),
                format!("{}{shaders}", device.backend),
                device.features.join(" "),
                format!("{}..={}", device.subgroup.0, device.subgroup.1),
                format!("{}, {}", limits.invocations, console::bytes(limits.workgroup_bytes.into())),
                console::bytes(limits.binding_bytes),
                if device.low_priority { "usual, low" } else { "usual" }.into(),
                device.driver,
            ]);
        }
        console::print(&table.text())
    }
}

/// A session as the arguments say, and the name of the GPU it is on. Where the GPU cannot do it a note says why, and the
/// CPU does it.
pub(crate) fn session(
    compile: &CompileArgs,
    adapter: Option<&str>,
    program: &Program,
    options: Options,
    timestamps: bool,
) -> Result<(Session, Option<String>), Diagnostic> {
    if compile.device == Device::Cpu {
        return Ok((Session::new(program, options).map_err(runtime_error)?, None));
    }
    let (session, choice) = open_session(program, &gpu(adapter, timestamps), options).map_err(runtime_error)?;
    Ok((session, chosen(choice)))
}

/// [`session`] for several entries of one model, which are all on the GPU or all on the CPU.
pub(crate) fn sessions(
    compile: &CompileArgs,
    adapter: Option<&str>,
    programs: &[&Program],
    options: Options,
) -> Result<(Vec<Session>, Option<String>), Diagnostic> {
    if compile.device == Device::Cpu {
        return Ok((Session::new_all(programs, options).map_err(runtime_error)?, None));
    }
    let (sessions, choice) = open_sessions(programs, &gpu(adapter, false), options).map_err(runtime_error)?;
    Ok((sessions, chosen(choice)))
}

/// Who asks for the GPU gets one, if it is only software.
fn gpu(adapter: Option<&str>, timestamps: bool) -> GpuOptions {
    GpuOptions { adapter: adapter.map(Into::into), software: true, timestamps, ..GpuOptions::default() }
}

/// The name of the GPU; where it is the CPU a note says why.
fn chosen(choice: Choice) -> Option<String> {
    match choice {
        Choice::Gpu { device, .. } => Some(device),
        Choice::Cpu { why } => {
            let why: Vec<String> = why.iter().map(ToString::to_string).collect();
            eprintln!("note: runs on the CPU: {}", why.join("; "));
            None
        }
    }
}
