"""The same work by programs that many use, beside `twin bench`, in one run.

Questions of space: the same points and villages in PostGIS, asked by pgbench over its socket. The twin is
asked in its process, which spares it a round trip: `SELECT 1` says what one costs.

Readings: the same load (`twin bench --broker`) into Mosquitto with persistence, which acknowledges a
message before it is on disk, and a consumer that writes them into PostgreSQL in batches: `mosquitto_sub`
read by this script. What counts is when the last reading is committed there.

Tiles: the same buildings in PostGIS, drawn by martin without its cache and asked over one kept connection. The
twin draws the dense tile in its process, which spares it the way, and the small ones over HTTP. Left out where
martin is not installed (`cargo install martin --no-default-features --features postgres`).
"""

import glob
import http.client
import json
import math
import os
import pwd
import shutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

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


class Mosquitto:
    """A broker, and a consumer that copies what it hears into the table `reading`."""

    BATCH = 5_000
    IDLE = 0.02

    def __init__(self, folder, postgres):
        self.postgres = postgres
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        store = os.path.join(folder, "mosquitto")
        os.mkdir(store)
        config = os.path.join(store, "mosquitto.conf")
        with open(config, "w") as file:
            # Without the last two lines it drops what its consumer cannot take at once.
            file.write(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n"
                       f"persistence true\npersistence_location {store}/\nlog_dest none\n"
                       "max_queued_messages 0\nmax_inflight_messages 1000\n")
        self.broker = subprocess.Popen([program("mosquitto", "/usr/sbin"), "-c", config])
        deadline = time.monotonic() + 10
        while socket.socket().connect_ex(("127.0.0.1", self.port)) != 0:
            if time.monotonic() > deadline:
                sys.exit("peers.py: mosquitto does not listen")
            time.sleep(0.05)
        self.heard = subprocess.Popen(
            [program("mosquitto_sub"), "-p", str(self.port), "-q", "1", "-c", "-i", "consumer",
             "-t", "twin/#", "-F", "%t %p"], stdout=subprocess.PIPE)
        self.stored = 0
        self.first = None
        self.last = 0.0
        self.thread = threading.Thread(target=self.consume, daemon=True)
        self.thread.start()
        time.sleep(1)  # Until it has subscribed.

    def consume(self):
        out, rest = self.heard.stdout.fileno(), b""
        rows = []
        while True:
            ready = select.select([out], [], [], self.IDLE)[0]
            if ready:
                self.first = self.first or time.monotonic()
                read = os.read(out, 1 << 20)
                if not read:
                    return
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    topic, payload = line.split(b" ", 1)
                    device = topic.split(b"/")[2].decode()
                    messages = json.loads(payload)
                    for message in messages if isinstance(messages, list) else [messages]:
                        for name, value in message["values"].items():
                            rows.append(f"{device}\t{name}\t{message['ts']!r}\t{value!r}\n")
            if rows and (len(rows) >= self.BATCH or not ready):
                self.postgres.copy("reading", rows)
                self.stored += len(rows)
                self.last = time.monotonic()
                rows = []

    def stop(self):
        for process in (self.heard, self.broker):
            process.terminate()
            process.wait()


def program(name, *folders):
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *folders]))
    return found or sys.exit(f"peers.py: {name} is not installed: apt-get install"
                             " mosquitto mosquitto-clients osm2pgsql gdal-bin")


class Martin:
    """A tile server over PostGIS that keeps nothing."""

    def __init__(self, postgres, martin):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        host = postgres.folder.replace("/", "%2F")
        self.process = subprocess.Popen(
            [martin, "-C", "0", "-l", f"127.0.0.1:{self.port}", f"postgresql://{postgres.account}@{host}/postgres"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", self.port)) != 0:
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit("peers.py: martin does not listen")
            time.sleep(0.05)
        self.client = http.client.HTTPConnection("127.0.0.1", self.port)

    def ask(self, tiles):
        """The time of each tile, in seconds, and the bytes of all."""
        times, size = [], 0
        for z, x, y in tiles:
            begun = time.perf_counter()
            self.client.request("GET", f"/building/{z}/{x}/{y}", headers={"Accept-Encoding": "identity"})
            answer = self.client.getresponse()
            body = answer.read()
            times.append(time.perf_counter() - begun)
            if answer.status not in (200, 204):
                sys.exit(f"peers.py: martin answers {answer.status}: {body[:200]}")
            size += len(body)
        return times, size

    def stop(self):
        self.client.close()
        self.process.terminate()
        self.process.wait()


# As in twin/src/bench/tiles.rs.
DENSE = (14, 9_560, 8_280)
BUILDINGS = 5_000
WALLS = 8
TILE_SEED = 13
PARTS = 8


def buildings():
    z, x, y = DENSE
    degrees = 360.0 / 2**z
    for number in range(BUILDINGS):
        drawn = shares(TILE_SEED ^ number)
        lon = (x + next(drawn)) * degrees - 180.0
        south = (y + next(drawn)) / 2**z
        lat = math.degrees(math.atan(math.sinh(math.pi * (1.0 - 2.0 * south))))
        size = degrees / 300.0 * (0.5 + next(drawn))
        corners = []
        for wall in range(WALLS + 1):
            angle = wall % WALLS / WALLS * 2.0 * math.pi
            corners.append(f"{lon + size * math.cos(angle)!r} {lat + size * math.sin(angle)!r}")
        # Drawn in another way than the twin's, from as many values.
        kind = ("house", "shop", "school")[int(next(drawn) * 3)]
        height, width = round(next(drawn) * 300) / 10, round(next(drawn) * 100) / 10
        floors, active = int(next(drawn) * 12), next(drawn) < 0.5
        yield f"bench:thing:{number}\tThing\tBuilding {number}\tB-{number:06}\t{kind}\t{height}\t{width}\t{floors}" \
            f"\t{active}\tSRID=4326;POLYGON(({','.join(corners)}))\n"


def tiles(binary, data, postgres):
    """The dense tile and small ones of both sides."""
    martin = shutil.which("martin", path=os.pathsep.join([os.environ["PATH"], os.path.expanduser("~/.cargo/bin")]))
    if martin is None:
        print("tiles: left out, because martin is not installed")
        return
    postgres.psql("CREATE TABLE building (id text, class text, name text, code text, kind text, height float8, width float8,"
                  " floors int, active bool, geom geometry(Polygon, 4326))")
    postgres.copy("building", buildings())
    postgres.psql("CREATE INDEX ON building USING gist (geom)")
    postgres.psql("VACUUM ANALYZE building")
    ours = bench(binary, data, "--only", "tiles")
    server = Martin(postgres, martin)
    try:
        server.ask([DENSE] * 5)
        times, size = server.ask([DENSE] * 100)
        theirs = sorted(times)[50]
        drawn = shares(1)
        part = lambda first: first * PARTS + int(next(drawn) * PARTS)
        small = [(17, part(DENSE[1]), part(DENSE[2])) for _ in range(1_000)]
        times, _ = server.ask(small)
        rate = len(times) / sum(times)
    finally:
        server.stop()
    print(f"{'':20} {'twin':>14} {'martin':>14} {'times':>8}")
    mine = ours["tiles-buildings"]
    print(f"{'tiles-buildings':20} {mine * 1e3:11.2f} ms {theirs * 1e3:11.2f} ms {theirs / mine:7.2f}x"
          f"  {size // 100} bytes of martin's")
    print(f"{'tiles-rate':20} {ours['tiles-rate']:12,.0f}/s {rate:12,.0f}/s {ours['tiles-rate'] / rate:7.2f}x")


def bench(binary, data, *arguments):
    """What `twin bench` prints, by figure."""
    with tempfile.TemporaryDirectory(prefix=".peers-", dir=".") as folder:
        said = subprocess.run(
            [binary, "--json", "bench", *arguments, "--data", data, "--dir",
             os.path.join(folder, "twin")], check=True, text=True, stdout=subprocess.PIPE).stdout
    return {line["name"]: line["twin"]["median"] for line in map(json.loads, said.splitlines())}


IMPORT_RUNS = 3
OSM = "world/osm/liechtenstein-2015-07-27.osm.pbf"
OSM_ELEMENTS = 158_437  # Nodes, ways and relations, as pyosmium counts them.
OSM_SETS = ("osm-buildings", "osm-building-parts", "osm-roads", "osm-land", "osm-places")
AREAS = "rwanda/admin_boundaries_full.parquet"


# Linux gives a new process the peak of the one that started it, and this script holds much: so another starts it.
STARTER = "import os, subprocess, sys\nprocess = subprocess.Popen(sys.argv[1:], stdout=2)\n" \
    "_, status, used = os.wait4(process.pid, 0)\nprint(os.waitstatus_to_exitcode(status), used.ru_maxrss)"


def ended(command, **more):
    """The median seconds of a program until it ends, and the greatest of its peaks of memory, in bytes."""
    times, peaks = [], []
    for run in range(IMPORT_RUNS):
        starter = [sys.executable, "-c", STARTER, *(argument.replace("{run}", str(run)) for argument in command)]
        begun = time.perf_counter()
        done = subprocess.run(starter, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        times.append(time.perf_counter() - begun)
        status, peak = map(int, done.stdout.split())
        # The twin says with 3 that it refused some of the objects.
        if status not in (0, 3):
            sys.exit(f"peers.py: {' '.join(command)} ended with {status}: {done.stderr[-2000:]}")
        peaks.append(peak * 1024)
    return sorted(times)[IMPORT_RUNS // 2], max(peaks)


def imports(binary, data, postgres, folder):
    """Elements a second and the peak of memory of each importer."""
    files = [os.path.join(data, name) for name in (OSM, AREAS)]
    if not all(map(os.path.exists, files)):
        print("imports: left out, because the data folder lacks " + " or ".join((OSM, AREAS)))
        return
    osm, areas = files
    # GDAL of many systems is built without Parquet.
    read = geopandas.read_parquet(areas)
    package = os.path.join(folder, "areas.gpkg")
    read.to_file(package)
    environment = os.environ | {"PGHOST": postgres.folder, "PGUSER": postgres.account, "PGDATABASE": "postgres",
                                "PG_USE_COPY": "YES"}
    database = f"PG:host={postgres.folder} user={postgres.account} dbname=postgres"

    def twin(sets, *more):
        return [binary, "import", *sets, *more, "--data", data, "--dir", os.path.join(folder, sets[0] + "{run}")]

    def ogr(file, *more):
        return [program("ogr2ogr"), "-f", "PostgreSQL", database, file, "-overwrite", *more]

    print(f"{'':20} {'elements/s':>14} {'peak memory':>14}")
    for kind, count, commands in (
        (f"OSM, {OSM_ELEMENTS:,} elements", OSM_ELEMENTS, (
            ("twin", twin(OSM_SETS, "--file", osm)),
            ("osm2pgsql", [program("osm2pgsql"), "--create", "--multi-geometry", osm]),
            ("ogr2ogr", ogr(osm)))),
        (f"{len(read):,} areas", len(read), (
            ("twin", twin(["rwanda-administration"])),
            ("ogr2ogr", ogr(package, "-nlt", "PROMOTE_TO_MULTI")))),
    ):
        print(kind)
        first = None
        for name, command in commands:
            seconds, peak = ended(command, env=environment)
            first = first or seconds
            print(f"  {name:18} {count / seconds:12,.0f}/s {peak / 2**20:10,.0f} MiB {seconds / first:7.2f}x"
                  "  of the twin's time")


def readings(binary, data, folder, postgres):
    """Readings a second until durable, and acknowledgements, of both sides."""
    postgres.psql("CREATE TABLE reading (device text, name text, ts double precision, value double precision)")
    mosquitto = Mosquitto(folder, postgres)
    try:
        print(f"{'':20} {'twin':>14} {'Mosquitto':>14} {'into PostgreSQL':>16} {'times':>8}")
        for name in ("readings", "ahead", "packs"):
            ours = bench(binary, data, "--only", name)
            before, mosquitto.first = mosquitto.stored, None
            # The consumer takes minutes for what ten seconds of packs hold.
            seconds = "2" if name == "packs" else "10"
            theirs = bench(binary, data, "--only", name, "--runs", "1", "--seconds", seconds,
                           "--broker", f"127.0.0.1:{mosquitto.port}")
            # It has everything once nothing came for a while.
            while time.monotonic() - mosquitto.last < 3:
                time.sleep(0.1)
            stored = (mosquitto.stored - before) / (mosquitto.last - mosquitto.first)
            print(f"{name:20} {ours[name]:12,.0f}/s {theirs[name]:12,.0f}/s {stored:14,.0f}/s"
                  f" {ours[name] / stored:7.2f}x")
            p99 = name + "-p99"
            print(f"{p99:20} {ours[p99] * 1e3:11.2f} ms {theirs[p99] * 1e3:11.2f} ms  the twin at half of its rate")
    finally:
        mosquitto.stop()


def twin(binary, data, figure):
    """The twin's median, in seconds."""
    return bench(binary, data, "--only", figure)[figure]


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
            tiles(sys.argv[1], data, postgres)
            imports(sys.argv[1], data, postgres, folder)
            readings(sys.argv[1], data, folder, postgres)
        finally:
            postgres.stop()


main()
