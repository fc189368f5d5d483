//! Checks what card issuers ask for: parameters that are off by default, each by itself and all together.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use tests::template::{Template, list, named};
use tests::variable;

use crate::deployed::Deployed;

type Parameters = &'static [(&'static str, &'static str)];

const DOMAIN: Parameters = &[
    ("DomainName", "api.bank.example"),
    ("CertificateArn", "arn:aws:acm:eu-central-1:111122223333:certificate/1234abcd"),
];
const MUTUAL_TLS: Parameters = &[
    ("DomainName", "api.bank.example"),
    ("CertificateArn", "arn:aws:acm:eu-central-1:111122223333:certificate/1234abcd"),
    ("TruststoreUri", "s3://truststore-of-the-bank/clients.pem"),
    ("TruststoreVersion", "7a1B2c3"),
];
const OWNED: Parameters = &[("OwnershipCertificateArn", "arn:aws:acm:eu-central-1:111122223333:certificate/5678")];
const BOUNDARY: Parameters = &[("PermissionsBoundaryArn", "arn:aws:iam::111122223333:policy/boundary")];
const RETAINED: Parameters = &[("RetainLogs", "true"), ("LogRetentionDays", "400")];
const BACKUP: Parameters = &[("WithBackup", "true")];
const COPIED: Parameters =
    &[("WithBackup", "true"), ("BackupCopyVaultArn", "arn:aws:backup:eu-west-1:444455556666:backup-vault:copies")];
const TRAIL: Parameters = &[("WithTrail", "operators")];
const WHOLE_TRAIL: Parameters = &[("WithTrail", "all")];
const POLICIES: Parameters = &[("WithOperatorPolicies", "true")];
/// The other optional parts of a deployment.
const OTHERS: Parameters = &[
    ("Stage", "prod"),
    ("WithEventsQueue", "true"),
    ("WithWebhook", "true"),
    ("ApiDestinationUrl", "https://consumer.example"),
    ("ApiDestinationSecret", "arn:aws:secretsmanager:eu-central-1:111122223333:secret:api-key-a1b2c3"),
    ("KmsKeyArn", "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"),
    ("CodeSigningConfigArn", "arn:aws:lambda:eu-central-1:111122223333:code-signing-config:csc-0123456789abcdef0"),
    ("PageTopicArn", "arn:aws:sns:eu-central-1:111122223333:pages"),
    ("TicketTopicArn", "arn:aws:sns:eu-central-1:111122223333:tickets"),
    ("TenantRate", "10"),
];
/// It does not work with mutual TLS.
const CANARY: Parameters = &[("WithCanary", "true")];

/// Each option by itself, with the resources and outputs that it adds.
const EACH: [(Parameters, &[&str], &[&str]); 10] = [
    (DOMAIN, &["ApiDomain", "ApiDomainMapping"], &["ApiDomainTarget", "ApiDomainZone"]),
    (MUTUAL_TLS, &["ApiDomain", "ApiDomainMapping"], &["ApiDomainTarget", "ApiDomainZone"]),
    (CANARY, &["CanaryAlarm", "CanaryFunction", "CanaryLogs", "CanaryRole", "CanarySecret"], &["CanarySecretArn"]),
    (BOUNDARY, &[], &[]),
    (RETAINED, &[], &[]),
    (BACKUP, &["BackupPlan", "BackupRole", "BackupSelection", "BackupVault"], &[]),
    (COPIED, &["BackupPlan", "BackupRole", "BackupSelection", "BackupVault"], &[]),
    (TRAIL, &["Trail", "TrailBucket", "TrailBucketPolicy"], &["TrailBucketName"]),
    (WHOLE_TRAIL, &["Trail", "TrailBucket", "TrailBucketPolicy"], &["TrailBucketName"]),
    (
        POLICIES,
        &["LookPolicy", "RedrivePolicy", "SetPinsPolicy"],
        &["LookPolicyArn", "RedrivePolicyArn", "SetPinsPolicyArn"],
    ),
];

/// Returns a deployment with everything that is optional, but without a canary.
pub fn all_on() -> Deployed {
    Deployed::with(&[MUTUAL_TLS, BOUNDARY, RETAINED, COPIED, WHOLE_TRAIL, POLICIES, OTHERS].concat())
}

/// Returns a deployment with everything that is optional, but without mutual TLS.
fn all_on_with_canary() -> Deployed {
    Deployed::with(&[DOMAIN, BOUNDARY, RETAINED, COPIED, WHOLE_TRAIL, POLICIES, OTHERS, CANARY].concat())
}

fn names<'a, T: 'a>(all: impl IntoIterator<Item = (&'a String, T)>) -> BTreeSet<&'a str> {
    all.into_iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn each_option_adds_its_own_resources_and_is_off_by_default() {
    let none = Deployed::with(&[]);
    assert_eq!(none.dangling(), BTreeSet::new(), "references to resources that are not created");
    for (parameters, resources, outputs) in EACH {
        let one = Deployed::with(parameters);
        assert_eq!(one.refusals(), BTreeSet::new(), "{parameters:?}");
        assert_eq!(one.dangling(), BTreeSet::new(), "{parameters:?}: references to resources that are not created");
        let added = &names(&one.resources) - &names(&none.resources);
        assert_eq!(added, resources.iter().copied().collect(), "{parameters:?}");
        let shown = &names(&one.outputs) - &names(&none.outputs);
        assert_eq!(shown, outputs.iter().copied().collect(), "{parameters:?}");
    }
    let mut every = BTreeSet::new();
    for (all, name) in [(all_on(), "all-on.json"), (all_on_with_canary(), "all-on-with-canary.json")] {
        assert_eq!((all.refusals(), all.dangling()), (BTreeSet::new(), BTreeSet::new()));
        every.extend(names(&all.resources).into_iter().map(ToOwned::to_owned));
        // CI also reads these with cfn-lint and checkov.
        let file = PathBuf::from(variable("BINDERY_LOCAL_DIR")).join(name);
        std::fs::write(file, all.template().to_string()).unwrap();
    }
    let template = Template::read();
    let resources = template.section("Resources").as_object().unwrap();
    assert_eq!(every, resources.keys().cloned().collect(), "right: all resources of the template");
}

#[test]
fn parameters_that_need_another_are_refused_without_it() {
    let refused = [
        (DOMAIN[..1].to_vec(), "DomainName needs CertificateArn."),
        (DOMAIN[1..].to_vec(), "CertificateArn needs DomainName."),
        (MUTUAL_TLS[2..].to_vec(), "TruststoreUri needs DomainName."),
        ([MUTUAL_TLS, CANARY].concat(), "WithCanary does not work with TruststoreUri."),
        (COPIED[1..].to_vec(), "BackupCopyVaultArn needs WithBackup."),
        (MUTUAL_TLS[3..].to_vec(), "TruststoreVersion needs TruststoreUri."),
        (OWNED.to_vec(), "OwnershipCertificateArn needs DomainName."),
        (vec![("ApiDestinationUrl", "https://consumer.example")], "ApiDestinationUrl needs ApiDestinationSecret."),
    ];
    for (parameters, description) in &refused {
        let refusals = Deployed::with(parameters).refusals();
        assert_eq!(refusals, [(*description).to_owned()].into(), "{parameters:?}");
    }
    let known = Template::read().section("Rules").as_object().unwrap().len();
    assert_eq!(known, refused.len(), "add parameters that each new rule refuses");
}

#[test]
fn clients_use_the_domain_and_with_mutual_tls_nothing_else() {
    let (none, domain, mutual) = (Deployed::with(&[]), Deployed::with(DOMAIN), Deployed::with(MUTUAL_TLS));
    for (one, is_closed) in [(&none, false), (&domain, false), (&mutual, true)] {
        assert_eq!(one.properties("Api")["DisableExecuteApiEndpoint"], is_closed);
        // The comment in the template says what would fail.
        assert_eq!(one.properties("Api").get("FailOnWarnings"), None);
    }
    let url = |one: &Deployed| named(&one.outputs["ApiUrl"]["Value"]);
    assert_eq!([url(&none), url(&domain), url(&mutual)], ["Api", "https://${DomainName}", "https://${DomainName}"]);
    let configuration = json!([{
        "CertificateArn": { "Ref": "CertificateArn" }, "EndpointType": "REGIONAL", "SecurityPolicy": "TLS_1_2",
    }]);
    for one in [&domain, &mutual] {
        assert_eq!(one.properties("ApiDomain")["DomainNameConfigurations"], configuration);
        assert_eq!(one.properties("ApiDomainMapping")["Stage"], "$default");
    }
    assert_eq!(domain.properties("ApiDomain").get("MutualTlsAuthentication"), None);
    let trusted =
        json!({ "TruststoreUri": { "Ref": "TruststoreUri" }, "TruststoreVersion": { "Ref": "TruststoreVersion" } });
    assert_eq!(mutual.properties("ApiDomain")["MutualTlsAuthentication"], trusted);
    let owned = Deployed::with(&[MUTUAL_TLS, OWNED].concat());
    let proof = &owned.properties("ApiDomain")["DomainNameConfigurations"][0]["OwnershipVerificationCertificateArn"];
    assert_eq!(*proof, json!({ "Ref": "OwnershipCertificateArn" }));
    let unversioned = Deployed::with(&MUTUAL_TLS[..3]);
    let trusted = json!({ "TruststoreUri": { "Ref": "TruststoreUri" } });
    assert_eq!(unversioned.properties("ApiDomain")["MutualTlsAuthentication"], trusted);
}

/// deployment.py checks the same for the roles that SAM adds.
#[test]
fn every_role_has_the_permissions_boundary() {
    let (with, without) = (all_on(), Deployed::with(&[BACKUP, OTHERS].concat()));
    for (id, role) in with.of_type("AWS::IAM::Role") {
        assert_eq!(role["Properties"]["PermissionsBoundary"], json!({ "Ref": "PermissionsBoundaryArn" }), "{id}");
    }
    for (id, role) in without.of_type("AWS::IAM::Role") {
        assert_eq!(role["Properties"].get("PermissionsBoundary"), None, "{id}");
    }
}

#[test]
fn every_log_group_can_be_protected_from_deletion() {
    let (with, without) = (Deployed::with(RETAINED), Deployed::with(&[]));
    let groups = with.of_type("AWS::Logs::LogGroup");
    assert!(!groups.is_empty());
    for (id, group) in groups {
        assert_eq!(group["Properties"]["DeletionProtectionEnabled"], true, "{id}");
        assert_eq!(without.properties(id).get("DeletionProtectionEnabled"), None, "{id}");
    }
    let allowed = Template::read().section("Parameters")["LogRetentionDays"]["AllowedValues"].clone();
    assert!(list(&allowed).contains(&json!(400)), "PCI DSS asks for a year of logs, so retain them a little longer");
}

#[test]
fn backups_are_of_the_table_and_their_role_may_do_nothing_else() {
    let copied = all_on();
    let selected = &copied.properties("BackupSelection")["BackupSelection"];
    assert_eq!(list(&selected["Resources"]).iter().map(named).collect::<Vec<_>>(), ["Table"]);
    let rule = &copied.properties("BackupPlan")["BackupPlan"]["BackupPlanRule"][0];
    assert_eq!(rule["Lifecycle"]["DeleteAfterDays"], 35);
    let copy_actions = json!([{
        "DestinationBackupVaultArn": { "Ref": "BackupCopyVaultArn" }, "Lifecycle": { "DeleteAfterDays": 35 },
    }]);
    assert_eq!(rule["CopyActions"], copy_actions);
    let allowed = |one: &Deployed| -> BTreeSet<(String, String)> {
        let statements = list(&one.properties("BackupRole")["Policies"][0]["PolicyDocument"]["Statement"]);
        let each = statements.iter().flat_map(|statement| {
            let resources: Vec<String> = list(&statement["Resource"]).iter().map(named).collect();
            let actions = list(&statement["Action"]).into_iter().map(|action| named(&action));
            actions
                .flat_map(|action| resources.clone().into_iter().map(move |on| (action.clone(), on)))
                .collect::<Vec<_>>()
        });
        each.collect()
    };
    let points = "arn:${AWS::Partition}:backup:${AWS::Region}:${AWS::AccountId}:recovery-point:*";
    let always = [
        ("backup:CopyIntoBackupVault", "BackupVault"),
        ("backup:DescribeBackupVault", "BackupVault"),
        ("backup:TagResource", points),
        ("dynamodb:CreateBackup", "Table"),
        ("dynamodb:DeleteBackup", "${Table.Arn}/backup/*"),
        ("dynamodb:DescribeBackup", "${Table.Arn}/backup/*"),
        ("dynamodb:DescribeTable", "Table"),
        ("dynamodb:ListTagsOfResource", "Table"),
        ("dynamodb:StartAwsBackupJob", "Table"),
    ];
    let if_copied = [
        ("backup:CopyFromBackupVault", "*"),
        ("backup:CopyIntoBackupVault", "BackupCopyVaultArn"),
        ("backup:DescribeBackupVault", "BackupCopyVaultArn"),
    ];
    let with_key = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"];
    let owned = |all: &[(&str, &str)]| -> BTreeSet<_> {
        all.iter().map(|(action, on)| ((*action).to_owned(), (*on).to_owned())).collect()
    };
    assert_eq!(allowed(&Deployed::with(BACKUP)), owned(&always));
    let with_key = with_key.map(|action| (action, "KmsKeyArn"));
    assert_eq!(allowed(&copied), owned(&[&always[..], &if_copied, &with_key].concat()));
}

/// Returns the roles of functions that may use the table.
fn users_of_the_table(template: &Template) -> BTreeSet<String> {
    let roles = template.functions().into_iter().map(|function| named(&function.properties["Role"]));
    let uses = |role: &String| {
        template.statements(role).iter().any(|one| one.actions.iter().any(|action| action.starts_with("dynamodb:")))
    };
    roles.filter(uses).collect()
}

#[test]
fn a_trail_records_all_but_the_functions_or_all() {
    let (operators, all) = (Deployed::with(TRAIL), Deployed::with(WHOLE_TRAIL));
    let selected = |one: &Deployed| list(&one.properties("Trail")["AdvancedEventSelectors"][0]["FieldSelectors"]);
    let (some, every) = (selected(&operators), selected(&all));
    let table = [
        json!({ "Field": "eventCategory", "Equals": ["Data"] }),
        json!({ "Field": "resources.type", "Equals": ["AWS::DynamoDB::Table"] }),
        json!({ "Field": "resources.ARN", "Equals": [{ "Fn::GetAtt": ["Table", "Arn"] }] }),
    ];
    assert_eq!(every, table);
    assert_eq!(some[..3], table);
    assert_eq!((some.len(), &some[3]["Field"]), (4, &"userIdentity.arn".into()));
    let session = |prefix: &Value| {
        let text = named(prefix);
        let of_role = text.strip_prefix("arn:${AWS::Partition}:sts::${AWS::AccountId}:assumed-role/${");
        of_role.and_then(|role| role.strip_suffix("}/")).unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let left_out: BTreeSet<String> = list(&some[3]["NotStartsWith"]).iter().map(session).collect();
    assert_eq!(left_out, users_of_the_table(&Template::read()), "left: in the trail's selector; right: of functions");

    let trail = all.properties("Trail");
    // The selectors of a trail cannot choose management events of one service.
    let management = json!([
        { "Field": "eventCategory", "Equals": ["Management"] },
        { "Field": "eventSource", "NotEquals": ["kms.amazonaws.com", "rdsdata.amazonaws.com"] },
    ]);
    assert_eq!(trail["AdvancedEventSelectors"][1]["FieldSelectors"], management);
    assert_eq!((&trail["IsLogging"], &trail["EnableLogFileValidation"]), (&true.into(), &true.into()));
}

#[test]
fn only_the_trail_may_write_to_its_bucket() {
    let deployed = Deployed::with(TRAIL);
    let own = json!("arn:${AWS::Partition}:cloudtrail:${AWS::Region}:${AWS::AccountId}:trail/${AWS::StackName}");
    let statements = list(&deployed.properties("TrailBucketPolicy")["PolicyDocument"]["Statement"]);
    let (allows, denies): (Vec<&Value>, Vec<&Value>) = statements.iter().partition(|one| one["Effect"] == "Allow");
    for statement in &allows {
        assert_eq!(statement["Principal"], json!({ "Service": "cloudtrail.amazonaws.com" }));
        assert_eq!(statement["Condition"]["StringEquals"]["aws:SourceArn"]["Fn::Sub"], own);
    }
    let actions: BTreeSet<String> = allows.iter().flat_map(|one| list(&one["Action"])).map(|one| named(&one)).collect();
    assert_eq!(actions, ["s3:GetBucketAcl", "s3:PutObject"].map(ToOwned::to_owned).into());
    let [tls] = denies.as_slice() else { panic!("{denies:?}") };
    assert_eq!(
        (&tls["Action"], &tls["Condition"]),
        (&"s3:*".into(), &json!({ "Bool": { "aws:SecureTransport": "false" } }))
    );
    let bucket = deployed.properties("TrailBucket");
    assert!(bucket["PublicAccessBlockConfiguration"].as_object().unwrap().values().all(|blocks| blocks == true));
    assert_eq!(named(&bucket["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"]), "LogRetentionDays");
    assert_eq!(named(&deployed.properties("Trail")["TrailName"]), "AWS::StackName", "the policy names the trail");
}
