//! Which program runs a script: its `#!` line, else the configured shell. Pure.
//!
//! We read the line ourselves instead of leaving it to the kernel, so that a script runs from a file system that is mounted
//! noexec, as /run and hardened /tmp are (pains 34).

/// The interpreter's words: the program, and at most one argument, as the kernel does it (execve(2)).
///
/// A script without a `#!` line is for `default_shell`.
#[must_use]
pub fn interpreter(body: &str, default_shell: &str) -> Vec<String> {
    let line = body
        .strip_prefix("#!")
        .and_then(|rest| rest.lines().next())
        .unwrap_or_default()
        .trim();
    let Some((program, argument)) = line.split_once([' ', '\t']) else {
        let program = if line.is_empty() { default_shell } else { line };
        return vec![program.to_owned()];
    };
    vec![program.to_owned(), argument.trim().to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_as_the_kernel_reads_it() {
        for (body, expected) in [
            ("echo x", vec!["/bin/sh"]),
            ("#!/bin/bash\necho", vec!["/bin/bash"]),
            ("#! /usr/bin/env python3\n", vec!["/usr/bin/env", "python3"]),
            ("#!/bin/bash -e -x  \n", vec!["/bin/bash", "-e -x"]),
            ("#!\necho", vec!["/bin/sh"]),
            ("# !/bin/bash\n", vec!["/bin/sh"]),
            ("#!/bin/bash", vec!["/bin/bash"]),
        ] {
            assert_eq!(interpreter(body, "/bin/sh"), expected, "{body:?}");
        }
    }
}
