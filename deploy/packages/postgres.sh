#!/bin/sh
# Start PostgreSQL as the official image does: with a new data directory, create user and database.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Created under another name, so that a killed start leaves nothing that looks complete.
    rm -rf "$PGDATA.new" && mkdir -p "$PGDATA.new"
    initdb --pgdata "$PGDATA.new" --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" \
        --auth scram-sha-256 --encoding UTF8 --no-instructions
    echo "host all all all scram-sha-256" >> "$PGDATA.new/pg_hba.conf"
    echo "CREATE DATABASE \"$POSTGRES_USER\"" | postgres --single -D "$PGDATA.new" postgres
    mv "$PGDATA.new" "$PGDATA"
fi
exec postgres -D "$PGDATA" -h '*'
