// SPDX-License-Identifier: MIT OR Apache-2.0
//! A command whose output nobody reads on ends, at once and without a panic.
#![cfg(feature = "cli")]

use std::io::Read as _;
use std::process::{Command, Stdio};

#[test]
fn a_closed_pipe_is_no_panic() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_shootdown"))
        .arg("list")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command");
    drop(child.stdout.take());
    let mut said = String::new();
    let stderr = child.stderr.as_mut().expect("a pipe");
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!(said, "");
    // Unless it was done before the pipe was closed.
    let status = child.wait().expect("an end").code();
    assert!(matches!(status, Some(0 | 141)), "{status:?}");
}
