//! The choice between the GPU and the CPU.

use drupe_runtime::{DeviceError, Error, Options, Program, Session};

use crate::gpu::{Gpu, GpuOptions};

/// Where a session runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// On the GPU, with the steps on the CPU that the plan leaves there.
    Gpu {
        /// The device.
        device: String,
        /// The target that the plan was made for.
        plan: String,
    },
    /// On the CPU.
    Cpu {
        /// Why not on the GPU.
        why: Vec<Refusal>,
    },
}

/// Why a plan does not run on the GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The target that the plan was made for; none when it is about no plan.
    pub plan: Option<String>,
    /// The reason; none when the artifact has no plan for a GPU.
    pub error: Option<DeviceError>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(plan) = &self.plan {
            write!(f, "plan {plan}: ")?;
        }
        match &self.error {
            Some(error) => error.fmt(f),
            None => f.write_str("the artifact has no plan for a GPU; compile the model for one"),
        }
    }
}

/// A session on the best GPU that `gpu` allows, or on the CPU if that cannot be; says which and why.
///
/// # Errors
/// When there can be no session on the CPU, either.
pub fn open_session(program: &Program, gpu: &GpuOptions, options: Options) -> Result<(Session, Choice), Error> {
    let refuse = |error| vec![Refusal { plan: None, error }];
    if program.device_plans() == 0 {
        return on_cpu(program, options, refuse(None));
    }
    match Gpu::open(gpu) {
        Ok(gpu) => gpu.open_session(program, options),
        Err(error) => on_cpu(program, options, refuse(Some(error))),
    }
}

/// [`open_session`] for several programs of one artifact that take turns at one [`drupe_runtime::State`], as the entries
/// of a language model do: all sessions are on the GPU, and keep their states in its memory, or all are on the CPU.
///
/// # Errors
/// As for [`open_session`].
pub fn open_sessions(
    programs: &[&Program],
    gpu: &GpuOptions,
    options: Options,
) -> Result<(Vec<Session>, Choice), Error> {
    let why = match Gpu::open(gpu) {
        Ok(gpu) => return gpu.open_sessions(programs, options),
        Err(error) => vec![Refusal { plan: None, error: Some(error) }],
    };
    all_on_cpu(programs, options, why)
}

fn all_on_cpu(programs: &[&Program], options: Options, why: Vec<Refusal>) -> Result<(Vec<Session>, Choice), Error> {
    let programs: Vec<Program> = programs.iter().map(|program| program.for_cpu()).collect();
    Ok((Session::new_all(&programs.iter().collect::<Vec<_>>(), options)?, Choice::Cpu { why }))
}

fn on_cpu(program: &Program, options: Options, why: Vec<Refusal>) -> Result<(Session, Choice), Error> {
    Ok((Session::new(&program.for_cpu(), options)?, Choice::Cpu { why }))
}

impl Gpu {
    /// [`open_session`] on a device that is open already.
    pub fn open_session(&self, program: &Program, options: Options) -> Result<(Session, Choice), Error> {
        let mut why = Vec::new();
        for index in 0..program.device_plans() {
            let Some(candidate) = program.for_device_plan(index) else { continue };
            let plan = candidate.plan().device.as_ref().map(|needs| needs.name.as_str().to_owned());
            match self.prepare(&candidate) {
                Ok(device) => {
                    let session = Session::with_device(&candidate, options, device)?;
                    let choice = Choice::Gpu { device: self.info().name.clone(), plan: plan.unwrap_or_default() };
                    return Ok((session, choice));
                }
                Err(error) => why.push(Refusal { plan, error: Some(error) }),
            }
        }
        if why.is_empty() {
            why.push(Refusal { plan: None, error: None });
        }
        on_cpu(program, options, why)
    }

    /// [`open_sessions`] on a device that is open already.
    pub fn open_sessions(&self, programs: &[&Program], options: Options) -> Result<(Vec<Session>, Choice), Error> {
        let mut sessions = Vec::new();
        let mut on = None;
        for program in programs {
            let (session, choice) = self.open_session(program, options)?;
            let plan = session.program().plan();
            match choice {
                Choice::Cpu { why } => return all_on_cpu(programs, options, why),
                Choice::Gpu { plan: name, .. } if plan.states.len() < program.for_cpu().plan().states.len() => {
                    let error = Some(DeviceError::StatesOnHost { entry: plan.entry.as_str().into() });
                    return all_on_cpu(programs, options, vec![Refusal { plan: Some(name), error }]);
                }
                choice => on = Some(choice),
            }
            sessions.push(session);
        }
        Ok((sessions, on.unwrap_or(Choice::Cpu { why: Vec::new() })))
    }
}
