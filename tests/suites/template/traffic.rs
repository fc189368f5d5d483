//! Checks rules for routes, shifted versions and the canary.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::template::{CHECKS_TOKENS, FunctionResource, Template, named};

/// API Gateway checks tokens before every function except one, which checks them itself with the same settings.
///
/// Each route names the authorizer. With a default authorizer, SAM would give the other route the security scheme
/// `NONE`, which the API's document does not define. It is not known whether API Gateway imports that without a
/// warning. With a warning, it would not import the document (`FailOnWarnings`).
#[test]
fn every_route_but_one_has_the_authorizer() {
    let template = Template::read();
    let auth = &template.resources("AWS::Serverless::HttpApi")["Api"]["Properties"]["Auth"];
    assert_eq!((&auth["DefaultAuthorizer"], auth["Authorizers"].as_object().unwrap().len()), (&Value::Null, 1));
    let jwt = &auth["Authorizers"]["Jwt"]["JwtConfiguration"];
    assert_eq!((named(&jwt["issuer"]), named(&jwt["audience"][0])), ("JwtIssuer".to_owned(), "JwtAudience".to_owned()));
    for function in template.functions() {
        let events = function.properties["Events"].as_object().into_iter().flat_map(|events| events.values());
        for event in events.filter(|event| event["Type"] == "HttpApi") {
            let own = event["Properties"].get("Auth");
            let checks = function.name == CHECKS_TOKENS;
            assert_eq!(own, (!checks).then_some(&json!({ "Authorizer": "Jwt" })), "{}", function.name);
            if checks {
                let set = template.environment(&function);
                assert_eq!((&*set["AUTH_ISSUER"], &*set["AUTH_AUDIENCE"]), ("JwtIssuer", "JwtAudience"));
            }
        }
    }
}

#[test]
fn every_route_has_limits_and_no_token_is_logged() {
    let template = Template::read();
    let api = &template.resources("AWS::Serverless::HttpApi")["Api"]["Properties"];
    let functions = template.functions();
    let events = functions.iter().filter_map(|function| function.properties["Events"].as_object());
    let events = events.flat_map(|events| events.values());
    let routes: BTreeSet<String> = events
        .filter(|event| event["Type"] == "HttpApi")
        .map(|event| format!("{} {}", named(&event["Properties"]["Method"]), named(&event["Properties"]["Path"])))
        .collect();
    let settings = api["RouteSettings"].as_object().unwrap();
    let limited: BTreeSet<String> = settings.keys().cloned().collect();
    assert_eq!(limited, routes, "left: routes in RouteSettings; right: all routes");
    for (route, settings) in settings {
        // A rate may be below one a second, but a burst is an integer (CloudFormation, `RouteSettings`).
        let (rate, burst) = (&settings["ThrottlingRateLimit"], &settings["ThrottlingBurstLimit"]);
        assert!(rate.as_f64() > Some(0.0) && burst.as_u64() > Some(0), "give {route} valid limits");
        assert_eq!(settings["DetailedMetricsEnabled"], true, "{route}");
    }
    let logs = &template.resources("AWS::Logs::LogGroup")["ApiLogs"]["Properties"]["LogGroupName"];
    assert!(
        named(logs).starts_with("/aws/vendedlogs/"),
        "{logs} must have this prefix: the account's resource policy for other log groups may be full"
    );
    let format: BTreeMap<String, String> =
        serde_json::from_str(api["AccessLogSettings"]["Format"].as_str().unwrap()).unwrap();
    for (name, value) in format {
        assert!(value.starts_with("$context."), "{name}");
        assert!(!["path", "header"].iter().any(|word| value.contains(word)), "{name}: {value}");
        // From the authorizer, only the tenant and the error may be logged. The subject may be an account or an
        // address.
        let of_token = value.strip_prefix("$context.authorizer.");
        assert!(of_token.is_none_or(|what| ["claims.tenant_id", "error"].contains(&what)), "{name}: {value}");
    }
}

/// The functions whose new versions get all of the traffic at once, and the reason.
const NOT_SHIFTED: [(&str, &str); 2] =
    [("canary", "with one invocation a minute, a tenth is nothing"), ("pre-traffic", "it has no traffic")];

/// `CodeDeploy` invokes the hook with `DeploymentRole`, by its name. `DeployAnyway` is the way past a hook that fails.
#[test]
fn each_shifted_version_is_invoked_before_it_gets_traffic() {
    let template = Template::read();
    let hooks = &template.section("Globals")["Function"]["DeploymentPreference"]["Hooks"];
    let none = json!({ "Ref": "AWS::NoValue" });
    let unless_anyway = json!({ "Fn::If": ["DeploysAnyway", none, { "Ref": "PreTrafficFunction" }] });
    assert_eq!(hooks, &json!({ "PreTraffic": { "Fn::If": ["IsProduction", unless_anyway, none] } }));
    let mut off = BTreeSet::new();
    for FunctionResource { name, properties, .. } in template.functions() {
        let own = &properties["DeploymentPreference"];
        assert_eq!(own.get("Hooks"), None, "{name} must have the hook of Globals");
        off.extend((own["Enabled"] == false).then_some(name));
    }
    assert_eq!(off, NOT_SHIFTED.map(|(name, _)| name.to_owned()).into());
    let hook = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${AWS::StackName}-pre-traffic";
    let statements = template.statements("DeploymentRole");
    let invoking: Vec<_> = statements.iter().filter(|one| one.actions.contains("lambda:InvokeFunction")).collect();
    let [only] = invoking.as_slice() else { panic!("{invoking:?}") };
    assert_eq!((only.actions.len(), &only.resources), (1, &[hook.to_owned()].into()));
}

#[test]
fn the_canary_is_invoked_each_minute_and_never_again() {
    let template = Template::read();
    let canary = &template.resources("AWS::Serverless::Function")["CanaryFunction"]["Properties"];
    let once = json!({ "MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60 });
    let events = canary["Events"].as_object().unwrap();
    let [schedule] = events.values().collect::<Vec<_>>()[..] else { panic!("{events:?}") };
    assert_eq!(
        (&schedule["Type"], &schedule["Properties"]["Schedule"]),
        (&json!("Schedule"), &json!("rate(1 minute)"))
    );
    assert_eq!((&schedule["Properties"]["RetryPolicy"], &canary["EventInvokeConfig"]), (&once, &once));
    assert_eq!(template.section("Outputs")["ApiUrl"]["Value"], canary["Environment"]["Variables"]["API_ENDPOINT"]);
}
