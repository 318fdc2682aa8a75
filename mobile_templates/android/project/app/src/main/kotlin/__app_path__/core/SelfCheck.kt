package «app_id | kotlin_package».core

import org.json.JSONArray
import org.json.JSONObject
import java.util.Locale
import kotlin.math.abs

/** One thing that was checked, under a name that does not change, and what was found. */
class Finding(
    val check: String,
    val passed: Boolean,
    val detail: String,
)

/** The outcome of a self-check: passed where every finding did, and there are some. */
class SelfCheckResult(
    val contract: ModelContract,
    val runtime: String,
    val threads: Int,
    val findings: List<Finding>,
    val worst: String,
    val milliseconds: List<Double>,
) {
    val passed: Boolean get() = findings.isNotEmpty() && findings.all(Finding::passed)

    /** Everything as JSON, with what [device] says about the phone, for a report. */
    fun toJson(device: Map<String, String>): String {
        val checks = findings.map { finding ->
            JSONObject()
                .put("check", finding.check)
                .put("passed", finding.passed)
                .put("detail", finding.detail)
        }
        return JSONObject()
            .put("schema_version", 1)
            .put("model", contract.name)
            .put("target", contract.target)
            .put("precision", contract.precision)
            .put("model_sha256", contract.model.sha256)
            .put("runtime", runtime)
            .put("threads", threads)
            .put("passed", passed)
            .put("worst", worst)
            .put("milliseconds", JSONArray(milliseconds))
            .put("checks", JSONArray(checks))
            .put("device", JSONObject(device))
            .toString(2)
    }
}

/**
 * Proves on the phone what the export proved: the files are those that were exported, this app's preprocessing gives the same
 * pixels, and its runtime the same scores, as the PyTorch model gave on the pictures of the golden pack.
 */
class SelfCheck(
    private val contract: ModelContract,
    private val engine: Engine,
    private val open: ReadFile,
    private val decode: (ByteArray) -> PixelSource,
) {
    private val findings = mutableListOf<Finding>()
    private val milliseconds = mutableListOf<Double>()
    private var worst = "nothing was compared"

    fun run(): SelfCheckResult {
        findings.clear()
        milliseconds.clear()
        worst = "nothing was compared"
        check("model file") { same(contract.model) }
        check("labels") {
            same(contract.labels)
            "${Labels.parse(open(contract.labels.file), contract.classes).size} names"
        }
        var pack: GoldenPack? = null
        check("golden pack") { GoldenPack.read(contract, open).also { pack = it }.let { "${it.images.size} pictures" } }
        pack?.let(::compare)
        return SelfCheckResult(contract, engine.runtime, engine.threads, findings.toList(), worst, milliseconds.toList())
    }

    private fun compare(pack: GoldenPack) {
        val preprocess = Preprocess(contract.crop)
        for (image in pack.images) {
            check("preprocessing ${image.name}") {
                val difference = largest(preprocess.crop(decode(open(image.file))), image.pixels)
                require(difference == 0) { "The pixels differ from the reference by up to $difference of 255 levels." }
                "difference 0"
            }
        }
        val results = mutableListOf<Map<String, FloatArray>>()
        check("inference") {
            for (image in pack.images) {
                val began = System.nanoTime()
                results += engine.run(image.pixels)
                milliseconds += (System.nanoTime() - began) / 1e6
            }
            val negative = ByteArray(pack.images[0].pixels.size) { (255 - (pack.images[0].pixels[it].toInt() and 0xFF)).toByte() }
            val answers = engine.run(negative)
            for ((name, scores) in answers) {
                require(!scores.contentEquals(results[0][name])) { "A picture and its negative give the same $name." }
            }
            "${results.size} pictures"
        }
        if (results.size == pack.images.size) contract.outputs.forEach { judge(it, pack, results) }
    }

    private fun judge(
        output: OutputSpec,
        pack: GoldenPack,
        results: List<Map<String, FloatArray>>,
    ) {
        val scores = results.mapNotNull { it[output.name] }
        check("parity of ${output.name}") {
            val differences = Parity.compare(output.kind, pack, scores)
            val told = differences.map { difference ->
                "%s: error %.3g of %.3g allowed (%s), SNR %.1f dB, centred %.1f dB".format(
                    Locale.ROOT,
                    difference.observed,
                    difference.maxError,
                    difference.allowedError,
                    pack.images[difference.worstImage].name,
                    difference.snrDb,
                    difference.centredSnrDb,
                )
            }
            worst = told.last()
            val problems = differences.flatMap { it.problems(pack.tolerance) }
            require(problems.isEmpty()) { (problems + told).joinToString("; ") }
            // For information: near-equal classes may change places. The best class is judged above.
            val equal = pack.images.indices.count { place ->
                TopK.best(scores[place], 5).map(Scored::index) == pack.images[place].top.toList()
            }
            (told + "top-5 in the same order on $equal of ${pack.images.size}").joinToString("; ")
        }
    }

    private fun same(file: FileSpec): String {
        file.read(open)
        return "sha256 ${file.sha256.take(12)}…"
    }

    private fun largest(
        found: ByteArray,
        expected: ByteArray,
    ): Int {
        require(found.size == expected.size) { "${found.size} values where ${expected.size} are expected." }
        return found.indices.maxOf { abs((found[it].toInt() and 0xFF) - (expected[it].toInt() and 0xFF)) }
    }

    /** Whatever goes wrong in a check is its finding: one that could not be carried out has not passed. */
    private fun check(
        name: String,
        body: () -> String,
    ) {
        findings += orTold({ Finding(name, true, body()) }) { reason, _ -> Finding(name, false, reason) }
    }
}
