//! What /etc/boto.cfg shall say, and whether it is ours to write. Pure.

use crate::config::ConfigFile;
use crate::config::file::NotWritable;

/// The three settings: section, option, value (spec/core.md 9.3). The value of the first is the project.
const PROJECT: (&str, &str) = ("GSUtil", "default_project_id");
const FIXED: [(&str, &str, &str); 2] = [
    ("GSUtil", "default_api_version", "2"),
    ("GoogleCompute", "service_account", "default"),
];

/// What the header of every file that a predecessor or we wrote names.
const MARK: &str = "google_instance_setup";

/// The file for a project: the template with our three settings.
///
/// # Errors
/// [`NotWritable`] for a project id that this format cannot hold.
pub fn contents(template: ConfigFile, project: &str) -> Result<ConfigFile, NotWritable> {
    let mut file = template;
    file.set_option(PROJECT.0, PROJECT.1, project, true)?;
    for (section, option, value) in FIXED {
        file.set_option(section, option, value, true)?;
    }
    Ok(file)
}

/// Whether a present file is ours to write again: it says so at its top, as Python's and ours do, or it holds nothing but
/// the three settings, as the Go agents' does. Everything else is somebody's, with credentials in it for all we know
/// (pains 79).
#[must_use]
pub fn is_ours(present: &[u8]) -> bool {
    let text = String::from_utf8_lossy(present);
    let header = text.lines().take_while(|line| line.starts_with('#'));
    if header.into_iter().any(|line| line.contains(MARK)) {
        return true;
    }
    let (file, findings) = ConfigFile::parse("", present);
    let entries = file.document().sections().iter().flat_map(|section| {
        let entries = section.entries().iter();
        entries.map(move |entry| {
            (
                section.name.as_str(),
                entry.name.as_str(),
                entry.raw.as_str(),
            )
        })
    });
    let is_setting = |(section, option, value): (&str, &str, &str)| {
        (section, option) == PROJECT || FIXED.contains(&(section, option, value))
    };
    let comments = text
        .lines()
        .any(|line| line.trim_start().starts_with(['#', ';']));
    findings.is_empty() && !comments && entries.into_iter().all(is_setting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> ConfigFile {
        ConfigFile::parse("template", text.as_bytes()).0
    }

    #[test]
    fn the_three_settings_are_added_to_the_template() {
        let file = contents(
            template("[Boto]\nproxy = %%x\n[GSUtil]\ndefault_project_id = old\n"),
            "p-1",
        )
        .unwrap();
        assert_eq!(
            file.to_text(),
            "[Boto]\nproxy = %%x\n\n[GSUtil]\ndefault_project_id = p-1\ndefault_api_version = 2\n\n\
             [GoogleCompute]\nservice_account = default\n\n"
        );
        assert!(contents(template(""), " x").is_err());
    }

    #[test]
    fn a_file_of_somebody_else_is_not_ours() {
        let go = "[GSUtil]\ndefault_project_id = 12\ndefault_api_version = 2\n\n[GoogleCompute]\nservice_account = default\n";
        let python = "# This file is automatically created at boot time by the\n# /x/boto_config.py script. Then re-run\n\
                      # google_instance_setup.\n\n[GSUtil]\nx = 1\n";
        for (text, ours) in [
            (go, true),
            (python, true),
            ("", true),
            (
                "[GSUtil]\ndefault_project_id = mine\n[Credentials]\ngs_oauth2_refresh_token = x\n",
                false,
            ),
            ("[GSUtil]\ndefault_api_version = 1\n", false),
            ("# my file\n[GSUtil]\ndefault_project_id = mine\n", false),
            ("[Boto]\n# google_instance_setup\nx = 1\n", false),
            ("no ini file\n", false),
        ] {
            assert_eq!(is_ours(text.as_bytes()), ours, "{text}");
        }
    }
}
