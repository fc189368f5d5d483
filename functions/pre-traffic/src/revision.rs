//! The functions and versions of a deployment.

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_codedeploy::Client;
use serde::Deserialize;

use crate::{HookError, aws_error};

/// A version of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The function's name.
    pub function: String,
    /// The version's number.
    pub version: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.function, self.version)
    }
}

/// The error for a deployment whose revision names no version.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deployment's revision names no version of a function")]
pub struct RevisionError;

/// Returns the versions that the deployment shifts traffic to.
///
/// The deployment itself has only the revision's checksum; the application has its content.
///
/// # Errors
/// Returns an error if a call fails, or the revision names no version.
pub async fn targets(client: &Client, deployment: &str) -> Result<Vec<Target>, HookError> {
    let read = client.get_deployment().deployment_id(deployment).send().await;
    let info = read.map_err(|error| aws_error("CodeDeploy GetDeployment", &error))?.deployment_info;
    let info = info.ok_or(RevisionError)?;
    let read = client.get_application_revision().set_application_name(info.application_name);
    let read = read.set_revision(info.revision).send().await;
    let revision = read.map_err(|error| aws_error("CodeDeploy GetApplicationRevision", &error))?.revision;
    let revision = revision.ok_or(RevisionError)?;
    // CloudFormation writes the type that CodeDeploy's API calls deprecated. AWS documents neither.
    #[allow(deprecated)]
    let content = revision.string.and_then(|text| text.content);
    let content = content.or_else(|| revision.app_spec_content.and_then(|spec| spec.content));
    Ok(parse(&content.unwrap_or_default())?)
}

/// Returns the versions in an `AppSpec`
/// (<https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-resources.html>).
fn parse(content: &str) -> Result<Vec<Target>, RevisionError> {
    #[derive(Deserialize)]
    struct AppSpec {
        #[serde(alias = "resources", rename = "Resources")]
        resources: Vec<BTreeMap<String, Resource>>,
    }
    #[derive(Deserialize)]
    struct Resource {
        #[serde(alias = "properties", rename = "Properties")]
        properties: Properties,
    }
    #[derive(Deserialize)]
    struct Properties {
        #[serde(alias = "name", rename = "Name")]
        name: String,
        #[serde(alias = "targetversion", rename = "TargetVersion")]
        target_version: String,
    }
    let spec: AppSpec = serde_json::from_str(content).map_err(|_| RevisionError)?;
    let resources = spec.resources.into_iter().flat_map(BTreeMap::into_values);
    let target = |Resource { properties: Properties { name, target_version } }| Target {
        function: name,
        version: target_version,
    };
    let targets: Vec<_> = resources.map(target).collect();
    if targets.is_empty() { Err(RevisionError) } else { Ok(targets) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_revision_names_the_new_version() {
        let content = r#"{"version":0.0,"Resources":[{"bindery-prod-get-card":{"Type":"AWS::Lambda::Function",
            "Properties":{"Name":"bindery-prod-get-card","Alias":"live","CurrentVersion":"1","TargetVersion":"2"}}}],
            "Hooks":[{"BeforeAllowTraffic":"bindery-prod-pre-traffic"}]}"#;
        let target = Target { function: "bindery-prod-get-card".to_owned(), version: "2".to_owned() };
        assert_eq!(parse(content), Ok(vec![target]));
    }

    #[rstest]
    #[case("")]
    #[case("{}")]
    #[case(r#"{"Resources":[]}"#)]
    #[case(r#"{"Resources":[{"f":{"Properties":{"Name":"f"}}}]}"#)]
    #[case("version: 0.0")]
    fn a_revision_without_a_version_is_an_error(#[case] content: &str) {
        assert_eq!(parse(content), Err(RevisionError));
    }
}
