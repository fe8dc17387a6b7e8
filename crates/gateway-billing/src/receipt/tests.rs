use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn key() -> ReceiptKey {
    ReceiptKey::derive(SECRET).unwrap()
}

fn claims() -> Value {
    json!({ "iss": "bellwether", "id": "x", "charge": { "usd": "0.000017000", "nano": "17000" } })
}

#[test]
fn a_receipt_comes_back_and_is_the_same_every_time() {
    let receipt = key().sign(&claims()).unwrap();
    let keys = ReceiptKeys::parse(&key().public_keys()).unwrap();
    assert_eq!(keys.verify(&receipt), Ok(claims()));
    assert_eq!(keys.verify(&format!("\n {receipt}\r\n")), Ok(claims()));
    assert_eq!(key().sign(&claims()).unwrap(), receipt);
}

#[test]
fn the_key_follows_from_the_secret_and_its_name_from_the_key() {
    let other = ReceiptKey::derive(b"another secret of the same length").unwrap();
    assert_ne!(key().public_keys(), other.public_keys());
    let set: Value = serde_json::from_str(&key().public_keys()).unwrap();
    assert_eq!(set["keys"][0]["kid"], key().id());
    assert_eq!(key().id().len(), 43);
    assert!(!format!("{:?}", key()).contains(set["keys"][0]["x"].as_str().unwrap()));
    let receipt = other.sign(&claims()).unwrap();
    let refused = ReceiptKeys::parse(&key().public_keys()).unwrap().verify(&receipt);
    assert_eq!(refused, Err(InvalidReceipt::UnknownKey { id: other.id().to_owned() }));
}

/// RFC 8037, appendix A.3: the thumbprint of the key in its examples.
#[test]
fn the_name_is_the_thumbprint_of_the_standard() {
    let thumb = r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    assert_eq!(BASE64.encode(digest(&SHA256, thumb.as_bytes())), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn every_other_byte_in_every_place_is_found_out() {
    let receipt = key().sign(&claims()).unwrap();
    let keys = ReceiptKeys::parse(&key().public_keys()).unwrap();
    let mut bytes = receipt.clone().into_bytes();
    for at in 0..bytes.len() {
        let good = bytes[at];
        for bad in (0..=0x7f).filter(|bad| *bad != good) {
            bytes[at] = bad;
            let text = std::str::from_utf8(&bytes).unwrap();
            assert!(keys.verify(text).is_err(), "byte {at} of {}: {bad:#04x} in place of {good:#04x}", receipt.len());
        }
        bytes[at] = good;
    }
    for cut in 0..receipt.len() {
        assert!(keys.verify(&receipt[..cut]).is_err(), "cut at {cut}");
        assert!(keys.verify(&receipt[cut + 1..]).is_err(), "begun at {}", cut + 1);
    }
    for more in ["A", ".", "=", ".AA"] {
        assert!(keys.verify(&format!("{receipt}{more}")).is_err(), "{more}");
    }
}

#[test]
fn a_header_of_another_kind_is_refused_even_if_it_is_signed() {
    let keys = ReceiptKeys::parse(&key().public_keys()).unwrap();
    let signed = |header: Value| {
        let mut text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims().to_string()));
        let signature = key().pair.sign(text.as_bytes());
        text.push('.');
        BASE64.encode_string(signature, &mut text);
        text
    };
    let kid = key().id().to_owned();
    assert!(keys.verify(&signed(json!({ "alg": "EdDSA", "kid": kid, "typ": TYPE }))).is_ok());
    for header in [
        json!({ "alg": "none", "kid": kid, "typ": TYPE }),
        json!({ "alg": "HS256", "kid": kid, "typ": TYPE }),
        json!({ "alg": "EdDSA", "kid": kid, "typ": "JWT" }),
        json!({ "alg": "EdDSA", "kid": kid }),
        json!({ "alg": "EdDSA", "kid": kid, "typ": TYPE, "crit": ["exp"] }),
        json!([]),
    ] {
        assert!(matches!(keys.verify(&signed(header.clone())), Err(InvalidReceipt::Malformed(_))), "{header}");
    }
}

#[test]
fn a_text_that_is_no_key_set_is_refused_with_what_it_lacks() {
    for (text, word) in [
        ("", "EOF"),
        ("[]", "invalid"),
        (r#"{"keys":[]}"#, "no Ed25519 key"),
        (r#"{"keys":[{"kty":"RSA","kid":"a"}]}"#, "no Ed25519 key"),
        (r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"AAAA"}]}"#, "no Ed25519 key"),
    ] {
        let refused = ReceiptKeys::parse(text).unwrap_err().to_string();
        assert!(refused.contains(word) && refused.contains(".well-known"), "{text}: {refused}");
    }
}
