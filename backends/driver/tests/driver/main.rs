//! Tests of the command line. What is compiled is tested in testsuite/compiler.

mod command_line;
#[cfg(all(feature = "gpu", unix, not(target_vendor = "apple")))]
mod fallback;
mod language;
mod self_tests;
mod support;
#[path = "../../../../runtime/llm/tests/llm/toy.rs"]
#[expect(dead_code, reason = "shared with the tests of language models, which use all of it")]
mod toy;
mod web;
