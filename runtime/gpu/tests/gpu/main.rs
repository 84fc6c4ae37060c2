//! Device plans made by hand, run on the software Vulkan that `./x setup gpu` installs.
#![cfg(all(unix, not(target_vendor = "apple"), any(target_arch = "x86_64", target_arch = "aarch64")))]

mod fallback;
mod hostile;
mod limits;
mod lost;
mod model;
mod run;

#[path = "../../../core/tests/runtime/support/mod.rs"]
#[expect(dead_code, reason = "shared with the runtime's tests, which use all of it")]
mod support;
