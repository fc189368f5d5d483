//! Lambda's detection of recursive loops: how it counts a chain of invocations, and when it stops one.
//!
//! A function that is invoked by a message that an earlier invocation sent is part of a chain. The member `Lineage`
//! of the trace header counts the chain's invocations of each function. The function's runtime puts the header into
//! its environment, from where the SDK and [`shared::queue`] pass it on with each message. After about 16 invocations
//! Lambda drops the next one, unless the function's `RecursiveLoop` is `Allow`
//! (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>; the member's form is X-Ray's,
//! <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html>, "Tracing header").

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::Value;
use uuid::Uuid;

use crate::template::Template;

/// The largest number of invocations in a chain.
pub const MOST: u32 = 16;

/// The functions that the template allows to exceed [`MOST`].
static ALLOWED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let functions = Template::read().functions().into_iter();
    functions.filter(|function| function.properties["RecursiveLoop"] == "Allow").map(|function| function.name).collect()
});

/// Returns whether the template allows the function's chains to exceed [`MOST`].
#[must_use]
pub fn is_allowed(function: &str) -> bool {
    let template = PathBuf::from(crate::variable("BINDERY_LOCAL_DIR")).join("template.json");
    // Benchmarks of other programs have no stack.
    template.exists() && ALLOWED.contains(function)
}

/// The chain that an invocation continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// The invocation's trace header.
    pub header: String,
    /// The number of the function's invocations in the chain, including this one.
    pub count: u32,
}

impl Lineage {
    /// Returns the lineage of the function's next invocation, for this event. In a batch the longest chain counts.
    #[must_use]
    pub fn of(function: &str, event: &Value) -> Self {
        let records = event["Records"].as_array().map(Vec::as_slice).unwrap_or_default();
        let headers = records.iter().filter_map(|record| record["attributes"]["AWSTraceHeader"].as_str());
        let longest = headers.max_by_key(|header| count(header, function)).unwrap_or_default();
        let count = count(longest, function) + 1;
        let others = lineage(longest).filter(|(hash, _)| *hash != hash_of(function));
        let mut members: Vec<String> = others.map(|(hash, count)| format!("{hash}:{count}")).collect();
        members.push(format!("{}:{count}", hash_of(function)));
        let id = Uuid::new_v4().simple().to_string();
        let (root, parent) = (format!("1-{}-{}", &id[..8], &id[8..]), &id[..16]);
        Self { header: format!("Root={root};Parent={parent};Sampled=0;Lineage={}", members.join("|")), count }
    }
}

fn hash_of(function: &str) -> String {
    let mut hasher = DefaultHasher::new();
    function.hash(&mut hasher);
    format!("{:016x}", hasher.finish())[..8].to_owned()
}

fn lineage(header: &str) -> impl Iterator<Item = (String, u32)> {
    let member = header.split(';').find_map(|member| member.strip_prefix("Lineage=")).unwrap_or_default();
    let pairs = member.split('|').filter_map(|pair| pair.split_once(':'));
    pairs.map(|(hash, count)| (hash.to_owned(), count.parse().unwrap()))
}

fn count(header: &str, function: &str) -> u32 {
    lineage(header).find(|(hash, _)| *hash == hash_of(function)).map_or(0, |(_, count)| count)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_function_of_a_chain_is_counted_by_itself() {
        let event = |headers: &[&str]| {
            let records: Vec<_> =
                headers.iter().map(|one| json!({ "attributes": { "AWSTraceHeader": one } })).collect();
            json!({ "Records": records })
        };
        let first = Lineage::of("a", &json!({ "rawPath": "/" }));
        assert_eq!(first.count, 1);
        let second = Lineage::of("b", &event(&[&first.header]));
        assert_eq!(second.count, 1);
        let third = Lineage::of("a", &event(&[&second.header]));
        assert_eq!(third.count, 2);
        assert_eq!(Lineage::of("b", &event(&[&first.header, &third.header])).count, 2);
        assert_eq!(Lineage::of("a", &event(&["Root=1-5759e988-bd862e3fe1be46a994272793"])).count, 1);
    }
}
