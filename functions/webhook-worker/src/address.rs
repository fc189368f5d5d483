//! Decides which addresses the worker may connect to. The consumer chooses the endpoint's name, and must not be able to
//! make the worker reach private networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks that are not on the public Internet: first address and prefix length. They are from IANA's registry of
/// special-purpose addresses, and include the metadata services of clouds.
const NOT_PUBLIC_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The IPv6 network that contains all public addresses.
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// The parts of [`GLOBAL_V6`] that are not on the public Internet, or that embed an IPv4 address (Teredo, 6to4).
const NOT_PUBLIC_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
/// The NAT64 network, whose addresses end with an IPv4 address.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// The destinations that deliveries may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedDestinations {
    /// The public Internet, with TLS.
    Public,
    /// Also this machine, where TLS is not required: for tests and the local stack.
    PublicAndLoopback,
}

impl AllowedDestinations {
    /// Returns the destinations of this build. A deployed build has no debug assertions, so it cannot reach its own
    /// machine, whatever its configuration is.
    #[must_use]
    pub const fn of_this_build() -> Self {
        if cfg!(debug_assertions) { Self::PublicAndLoopback } else { Self::Public }
    }

    /// Returns whether the worker may connect to this address.
    #[must_use]
    pub fn allows(self, address: IpAddr) -> bool {
        let address = embedded(address);
        is_public(address) || (self == Self::PublicAndLoopback && address.is_loopback())
    }
}

/// Returns the IPv4 address if one is embedded in an IPv6 address, or else the address itself.
fn embedded(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if is_in_v6(v6, NAT64) => {
            let [.., a, b, c, d] = v6.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        other => other.to_canonical(),
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !NOT_PUBLIC_V4.iter().any(|network| is_in_v4(v4, *network)),
        IpAddr::V6(v6) => is_in_v6(v6, GLOBAL_V6) && !NOT_PUBLIC_V6.iter().any(|network| is_in_v6(v6, *network)),
    }
}

fn is_in_v4(address: Ipv4Addr, (network, length): (Ipv4Addr, u32)) -> bool {
    (address.to_bits() ^ network.to_bits()) >> (32 - length) == 0
}

fn is_in_v6(address: Ipv6Addr, (network, length): (Ipv6Addr, u32)) -> bool {
    (address.to_bits() ^ network.to_bits()) >> (128 - length) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("8.8.8.8", true)]
    #[case("172.15.255.255", true)]
    #[case("172.32.0.0", true)]
    #[case("100.63.255.255", true)]
    #[case("100.128.0.0", true)]
    #[case("223.255.255.255", true)]
    #[case("2600:1f18::1", true)]
    #[case("2a00:1450:4001:81b::200e", true)]
    #[case("::ffff:8.8.8.8", true)]
    #[case("64:ff9b::8.8.8.8", true)]
    #[case("0.0.0.0", false)]
    #[case("10.1.2.3", false)]
    #[case("100.64.0.1", false)]
    #[case("127.0.0.1", false)]
    #[case("127.255.255.255", false)]
    #[case("169.254.169.254", false)] // metadata of EC2
    #[case("169.254.170.2", false)] // credentials of ECS
    #[case("100.100.100.200", false)] // metadata of Alibaba Cloud
    #[case("172.16.0.1", false)]
    #[case("172.31.255.255", false)]
    #[case("192.0.0.192", false)] // metadata of Oracle's cloud
    #[case("192.168.0.1", false)]
    #[case("198.19.255.255", false)]
    #[case("224.0.0.1", false)]
    #[case("255.255.255.255", false)]
    #[case("::", false)]
    #[case("::1", false)]
    #[case("::7f00:1", false)] // 127.0.0.1 in the old compatible form
    #[case("::ffff:127.0.0.1", false)]
    #[case("::ffff:169.254.169.254", false)]
    #[case("::ffff:0:10.0.0.1", false)] // translated
    #[case("64:ff9b::10.0.0.1", false)]
    #[case("64:ff9b:1::8.8.8.8", false)] // local NAT64
    #[case("2001:0:4136:e378:8000:63bf:3fff:fdd2", false)] // Teredo
    #[case("2002:7f00:1::", false)] // 6to4 of 127.0.0.1
    #[case("2001:db8::1", false)]
    #[case("fc00::1", false)]
    #[case("fd00:ec2::254", false)] // metadata of EC2
    #[case("fe80::1", false)]
    #[case("fec0::1", false)]
    #[case("ff02::1", false)]
    fn only_the_internet_is_public(#[case] address: IpAddr, #[case] public: bool) {
        assert_eq!(AllowedDestinations::Public.allows(address), public);
    }

    #[rstest]
    #[case("127.0.0.1", true)]
    #[case("::1", true)]
    #[case("::ffff:127.0.0.1", true)]
    #[case("8.8.8.8", true)]
    #[case("10.0.0.1", false)]
    #[case("169.254.169.254", false)]
    fn tests_reach_this_machine_and_no_private_network(#[case] address: IpAddr, #[case] allowed: bool) {
        assert_eq!(AllowedDestinations::PublicAndLoopback.allows(address), allowed);
    }

    proptest! {
        /// An IPv4 address has the same result in each of its IPv6 forms.
        #[test]
        fn an_ipv4_address_has_the_same_result_within_ipv6(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let nat64 = Ipv6Addr::from_bits(NAT64.0.to_bits() | u128::from(bits));
            let allowed = AllowedDestinations::Public.allows(v4.into());
            prop_assert_eq!(AllowedDestinations::Public.allows(v4.to_ipv6_mapped().into()), allowed);
            prop_assert_eq!(AllowedDestinations::Public.allows(nat64.into()), allowed);
            // The deprecated compatible form is not routed.
            prop_assert!(!AllowedDestinations::Public.allows(v4.to_ipv6_compatible().into()));
        }

        /// Addresses that the standard library knows to be special are never allowed.
        #[test]
        fn nothing_private_is_public(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let is_special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
                || v4.is_broadcast() || v4.is_documentation() || v4.is_unspecified();
            prop_assert!(!(is_special && AllowedDestinations::Public.allows(v4.into())));
        }

        #[test]
        fn nothing_local_is_public(
            bits in any::<u128>(),
            top in prop::sample::select(vec![0xfc_u128, 0xfd, 0xfe, 0xff, 0]),
        ) {
            let v6 = Ipv6Addr::from_bits((bits >> 8) | (top << 120));
            let is_nat64 = is_in_v6(v6, NAT64);
            let is_mapped = v6.to_ipv4_mapped().is_some();
            prop_assert!(is_nat64 || is_mapped || !AllowedDestinations::Public.allows(v6.into()));
        }
    }
}
