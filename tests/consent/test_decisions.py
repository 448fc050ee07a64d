from consent_town import EMAIL, Town


def test_smoke(town: Town) -> None:
    town.person("ann", email="ann@example.com", given_name="Ann")
    town.person("bob", email="bob@example.com")
    print(town.tell("ann@example.com"))
    assert town.reason("ann") == "allow"
    assert town.reason("bob") == "no_record"
    assert town.seal(EMAIL, ["ann"]).batch.rows[0].fields == {"first_name": "Ann"}
    print(
        list(town.gate.payload_hashes(town.warehouse, EMAIL, "SELECT * FROM identity.golden"))[0].to_pylist(),
        town.seal(EMAIL, ["ann"]).payload_hashes,
    )
