"""The same points and villages in PostGIS, asked by pgbench over its socket, beside `twin bench`.

The twin is asked in its process, which spares it a round trip: `SELECT 1` says what one costs.
"""

import glob
import json
import math
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile

import geopandas

POINTS = 1_000_000
WITHIN = 500
SECONDS = 5
# As in twin/src/bench/synthetic.rs and points.rs: the same points, and where questions lie.
WEST, SOUTH, EAST, NORTH = 29.0, -2.7, 30.8, -1.2
INSET = 0.2
DEGREE = 111_000.0
MASK = (1 << 64) - 1
USER = "postgres"


def shares(seed):
    """SplitMix64 as numbers from 0 to 1."""
    state = seed
    while True:
        state = (state + 0x9E37_79B9_7F4A_7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB) & MASK
        yield ((z ^ (z >> 31)) >> 11) / (1 << 53)


def points():
    for number in range(POINTS):
        drawn = shares(number)
        lon = WEST + next(drawn) * (EAST - WEST)
        lat = SOUTH + next(drawn) * (NORTH - SOUTH)
        yield f"bench:thing:{number}\tSRID=4326;POINT({lon!r} {lat!r})\n"


def villages(data):
    areas = geopandas.read_parquet(os.path.join(data, "rwanda/admin_boundaries_full.parquet"))
    for row in areas[areas["level"] == "village"].itertuples():
        yield f"rw:village:{row.id}\tSRID=4326;{row.geometry.wkt}\n"


class Postgres:
    def __init__(self, folder):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/pg_ctl"))
        if not found:
            sys.exit("peers.py: PostgreSQL is not installed: apt-get install postgresql-15-postgis-3")
        self.bin = os.path.dirname(found[-1])
        self.folder = folder
        self.data = os.path.join(folder, "data")
        # It refuses to run as root.
        self.account = USER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(folder, USER)

    def run(self, program, *arguments, **more):
        who = {"user": self.account} if os.geteuid() == 0 else {}
        command = [os.path.join(self.bin, program), *arguments]
        return subprocess.run(command, check=True, text=True, cwd=self.folder, **who, **more)

    def start(self):
        self.run("initdb", "-D", self.data, "-A", "trust", "-U", self.account,
                 stdout=subprocess.DEVNULL)
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' " \
            "-c shared_buffers=512MB -c maintenance_work_mem=512MB -c max_wal_size=4GB -c jit=off"
        self.run("pg_ctl", "-D", self.data, "-w", "-l", os.path.join(self.folder, "log"),
                 "-o", options, "start", stdout=subprocess.DEVNULL)

    def stop(self):
        self.run("pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop", stdout=subprocess.DEVNULL)

    def psql(self, text, **more):
        return self.run("psql", "-h", self.folder, "-U", self.account, "-d", "postgres", "-qAtX",
                        "-v", "ON_ERROR_STOP=1", "-c", text, stdout=subprocess.PIPE, **more).stdout

    def copy(self, table, rows):
        self.psql(f"COPY {table} FROM STDIN", input="".join(rows))

    def ask(self, name, statement):
        """The median time of one answer, in seconds, of random questions by one client."""
        script = os.path.join(self.folder, name + ".sql")
        with open(script, "w") as file:
            for variable, low, high in (("lon", WEST, EAST), ("lat", SOUTH, NORTH)):
                low, high = round((low + INSET) * 1e6), round((high - INSET) * 1e6)
                file.write(f"\\set {variable} random({low}, {high}) / 1000000.0\n")
            file.write(statement + ";\n")
        log = os.path.join(self.folder, name)
        self.run("pgbench", "-h", self.folder, "-U", self.account, "-n", "-M", "prepared", "-T",
                 str(SECONDS), "-l", "--log-prefix", log, "-f", script, "postgres",
                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times = []
        for path in glob.glob(glob.escape(log) + ".[0-9]*"):
            with open(path) as file:
                times += [int(line.split()[2]) for line in file]
        return sorted(times)[len(times) // 2] / 1e6


def twin(binary, data, figure):
    """The twin's median, in seconds."""
    with tempfile.TemporaryDirectory(prefix=".peers-", dir=".") as folder:
        said = subprocess.run(
            [binary, "--json", "bench", "--only", figure, "--data", data, "--dir",
             os.path.join(folder, "twin")], check=True, text=True, stdout=subprocess.PIPE).stdout
    for line in said.splitlines():
        line = json.loads(line)
        if line["name"] == figure:
            return line["twin"]["median"]
    sys.exit(f"peers.py: twin bench printed no {figure}")


def main():
    # Asked to end, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("peers.py: ended early"))
    if len(sys.argv) != 2:
        sys.exit("peers.py: name the built binary: tools/peers.sh \"$(make -s where)\"")
    data = os.environ.get("TWIN_DATA", "data")
    metres = math.sqrt(WITHIN * (EAST - WEST) * (NORTH - SOUTH) * DEGREE**2 / (POINTS * math.pi))
    here = "ST_SetSRID(ST_MakePoint(:lon, :lat), 4326)"
    questions = [
        ("radius-million", f"SELECT id FROM thing WHERE ST_DWithin(at, {here}::geography, {metres!r})"),
        ("nearest-million", f"SELECT id FROM thing ORDER BY at <-> {here}::geography LIMIT 10"),
        ("village", f"SELECT id FROM village WHERE ST_Covers(shape, {here})"),
    ]
    with tempfile.TemporaryDirectory(prefix="twin-peers-") as folder:
        postgres = Postgres(folder)
        postgres.start()
        try:
            postgres.psql(
                "CREATE EXTENSION postgis; CREATE TABLE thing (id text, at geography(Point, 4326));"
                " CREATE TABLE village (id text, shape geometry(Geometry, 4326))")
            postgres.copy("thing", points())
            postgres.copy("village", villages(data))
            for table, column in (("thing", "at"), ("village", "shape")):
                postgres.psql(f"CREATE INDEX ON {table} USING gist ({column})")
            postgres.psql("VACUUM ANALYZE")
            print(f"SELECT 1 over the socket: {postgres.ask('nothing', 'SELECT 1') * 1e6:.0f} us")
            print(f"{'':20} {'twin':>12} {'PostGIS':>12} {'times':>8}")
            for name, statement in questions:
                ours, theirs = twin(sys.argv[1], data, name), postgres.ask(name, statement)
                print(f"{name:20} {ours * 1e6:9.1f} us {theirs * 1e6:9.1f} us {theirs / ours:7.1f}x")
        finally:
            postgres.stop()


main()
