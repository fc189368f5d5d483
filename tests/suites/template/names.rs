//! Checks that two stages, and two regions, can live in one account.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::template::{Template, named};

/// Properties that end in `Name` and name no resource of the stack.
const NO_NAMES: [(&str, &str, &str); 3] = [
    ("AWS::ApiGatewayV2::DomainName", "DomainName", "the operator chooses it"),
    ("AWS::CloudWatch::Alarm", "MetricName", "AWS or the functions choose it"),
    ("AWS::Serverless::HttpApi", "StageName", "it is the API's own"),
];
/// Types whose names are unique in the account or in the world, whatever the region. `CloudFormation` must make them.
const GLOBAL: [&str; 4] = ["AWS::IAM::ManagedPolicy", "AWS::IAM::Policy", "AWS::IAM::Role", "AWS::S3::Bucket"];
/// Types whose names the account shares between regions. The name must contain the region.
const OF_THE_ACCOUNT: [&str; 1] = ["AWS::CloudWatch::Dashboard"];
/// The paths of log groups, which may come before the stack's name.
const PATHS: [&str; 2] = ["/aws/lambda/", "/aws/vendedlogs/apigateway/"];

/// Returns the resource's name, by the property that sets it. Names that refer to a resource or are another's are left
/// out.
fn explicit_names(kind: &str, resource: &Value, ids: &[&String]) -> BTreeMap<String, String> {
    let properties = resource["Properties"].as_object().unwrap();
    let is_name = |property: &&String| {
        property.ends_with("Name") && !NO_NAMES.iter().any(|(of, name, _)| *of == kind && name == property)
    };
    let given = properties.keys().filter(is_name).map(|property| (property.clone(), named(&properties[property])));
    given.filter(|(_, name)| !ids.contains(&name)).collect()
}

#[test]
fn every_name_begins_with_the_stacks_name_or_is_made_by_aws() {
    let template = Template::read();
    let resources = template.section("Resources").as_object().unwrap();
    let ids: Vec<&String> = resources.keys().collect();
    let mut count = 0;
    for (id, resource) in resources {
        let kind = resource["Type"].as_str().unwrap();
        let names = explicit_names(kind, resource, &ids);
        assert!(!GLOBAL.contains(&kind) || names.is_empty(), "{id}: CloudFormation must make the name: {names:?}");
        for (property, name) in names {
            let from_stack = PATHS.iter().find_map(|path| name.strip_prefix(path)).unwrap_or(&name);
            // `!Ref AWS::StackName` or `${AWS::StackName}-…`.
            let rest = from_stack.strip_prefix("${AWS::StackName}").or(from_stack.strip_prefix("AWS::StackName"));
            assert!(
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')),
                "{id}: {property} must begin with the stack's name: {name}"
            );
            let needs_region = OF_THE_ACCOUNT.contains(&kind);
            assert!(
                !needs_region || name.contains("${AWS::Region}"),
                "{id}: {property} must contain the region: {name}"
            );
            count += 1;
        }
    }
    assert!(count > 100, "{count} names were found");
    for (name, output) in template.section("Outputs").as_object().unwrap() {
        // The names of exports are unique in a region.
        assert_eq!(output.get("Export"), None, "{name}");
    }
}
