//! `drupe devices`: the GPUs of this machine, and sessions on them.

use crate::commands::model::{CompileArgs, Device, runtime_error};
use crate::commands::table::Table;
use crate::console;
use drupe_ir::Diagnostic;
use drupe_runtime::{Options, Program, Session};
use drupe_runtime_gpu::{Choice, DeviceKind, GpuOptions, devices, open_session};

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
        let mut table = Table::new(["device", "kind", "by", "features", "subgroup", "workgroup", "binding", "driver"]);
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
    // Who asks for the GPU gets one, if it is only software.
    let gpu = GpuOptions { adapter: adapter.map(Into::into), software: true, timestamps, ..GpuOptions::default() };
    let (session, choice) = open_session(program, &gpu, options).map_err(runtime_error)?;
    match choice {
        Choice::Gpu { device, .. } => Ok((session, Some(device))),
        Choice::Cpu { why } => {
            let why: Vec<String> = why.iter().map(ToString::to_string).collect();
            eprintln!("note: runs on the CPU: {}", why.join("; "));
            Ok((session, None))
        }
    }
}
