//! Tests of the runtime on artifacts made without the compiler.
#![cfg(all(unix, not(target_vendor = "apple"), any(target_arch = "x86_64", target_arch = "aarch64")))]

mod async_session;
mod device;
mod hostile;
mod latency;
mod run;
mod state;
mod support;
