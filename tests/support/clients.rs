//! The tests' own clients of AWS's services.

use aws_sdk_sqs::config::timeout::TimeoutConfig;
use shared::aws::Aws;

/// Clients without timeouts. The emulator is sometimes slow, and unlike functions, tests need not respond in time.
pub(crate) struct Clients {
    pub dynamodb: aws_sdk_dynamodb::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub eventbridge: aws_sdk_eventbridge::Client,
}

impl Clients {
    /// Returns clients of the emulator, with the table at this `DynamoDB`.
    pub fn of(dynamodb_url: &str) -> Self {
        let (aws, patient) = (Aws::from_env().unwrap(), TimeoutConfig::disabled());
        let dynamodb = aws.dynamodb().config().to_builder().endpoint_url(dynamodb_url).timeout_config(patient.clone());
        let sqs = aws.sqs().config().to_builder().timeout_config(patient.clone());
        let eventbridge = aws.eventbridge().config().to_builder().timeout_config(patient);
        Self {
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()),
            eventbridge: aws_sdk_eventbridge::Client::from_conf(eventbridge.build()),
        }
    }
}
