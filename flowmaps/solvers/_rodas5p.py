"""Steinebach's Rodas5P."""

from flowmaps.solvers._rosenbrock import Rosenbrock
from flowmaps.solvers._rosenbrock_tableau import RosenbrockTableau

__all__ = ["Rodas5P"]

END = (
    "-7.502846399306121 2.561846144803919 -11.627539656261098 -0.18268767659942256 "
    "0.030198172008377946"
)
"""The weights of the first five stages, which the last three stages start from."""


class Rodas5P(Rosenbrock):
    """Rodas5P, 5(4), for stiff equations: L-stable, stiffly accurate, dense output of order 4.

    Eight stages with one matrix, whose n + 1 derivatives the counts of evaluations include.
    The embedded method is A-stable, and the estimate holds for purely time-dependent fields too.

    The dense weights below are those of the paper's x(theta) = (1 - theta) x_0 + theta (x_1 + (1 -
    theta) (k_1 + theta k_2 + theta^2 k_3)), multiplied out.

    Source:
        Steinebach (2023), Construction of Rosenbrock-Wanner method Rodas5P and numerical benchmarks
            within the Julia Differential Equations package, BIT Numer. Math. 63, 27. Coefficients
            as rounded to double precision; order conditions hold to 1e-14, dense ones to 2e-13.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = lambda t, x: -1e6 * (x - torch.cos(t)[:, None])
        >>> method = fm.solvers.Rodas5P()
        >>> solution = fm.solvers.solve(field, 0.0, 1.0, torch.ones(1, 1), method=method)
        >>> round(solution.x.item(), 4), solution.statistics.steps.item() < 60
        (0.5403, True)
    """

    order = 5
    error_order = 4
    dense_order = 4
    tableau = RosenbrockTableau.parse(
        gamma="0.21193756319429014",
        nodes=(
            "0 0.6358126895828704 0.4095798393397535 0.9769306725060716 0.4288403609558664 1 1 1"
        ),
        gammas=(
            "0.21193756319429014 -0.42387512638858027 -0.3384627126235924 1.8046452872882734 "
            "2.325825639765069 0 0 0"
        ),
        a=[
            "",
            "3",
            "2.849394379747939 0.45842242204463923",
            "-6.954028509809101 2.489845061869568 -10.358996098473584",
            "2.8029986275628964 0.5072464736228206 -0.3988312541770524 -0.04721187230404641",
            END,
            f"{END} 1",
            f"{END} 1 1",
        ],
        c=[
            "",
            "-14.155112264123755",
            "-17.97296035885952 -2.859693295451294",
            "147.12150275711716 -1.41221402718213 71.68940251302358",
            "165.43517024871676 -0.4592823456491126 42.90938336958603 -5.961986721573306",
            "24.854864614690072 -3.0009227002832186 47.4931110020768 5.5814197821558125 "
            "-0.6610691825249471",
            "30.91273214028599 -3.1208243349937974 77.79954646070892 34.28646028294783 "
            "-19.097331116725623 -28.087943162872662",
            "37.80277123390563 -3.2571969029072276 112.26918849496327 66.9347231244047 "
            "-40.06618937091002 -54.66780262877968 -9.48861652309627",
        ],
        m=f"{END} 1 1 1",
        m_error="0 0 0 0 0 0 0 1",
        m_dense=[
            "18.445940457357737 -35.864475363615568 21.335592082873972 -11.419903575922262",
            "0.0038736602192955 1.5889780251731081 3.8569589740252148 -2.8879645146136994",
            "-1.193724251372219 -7.3900116805910337 69.8775762356624447 -72.92137995996029",
            "-2.55061277886794296 -22.1272994639472756 104.620342912442226 -80.12511834622643",
            "0.555146713329450946 19.651189793387971 -72.249009700861698 52.072871366152654",
            "2.1241088310450404 14.8565547832014696 -75.77059986691380 59.78993625266729",
            "1.4272876194431874 -7.2163279228630614 6.63321346059235487 0.15582684282751913",
            "0.82797778929844507 -6.53821385922181707 11.593323255637094 -4.883087185713722",
        ],
    )
